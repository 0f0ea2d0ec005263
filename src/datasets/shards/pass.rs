//! A pass over shards: their order, reading ahead, the shuffle buffer, batches.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use rand::seq::SliceRandom;

use super::reader::Reader;
use super::sample::{Raw, Sink};
use crate::datasets::Pending;
use crate::error::{Error, Result};
use crate::memory::{check_room, limit};
use crate::random::{Random, stream};

/// The samples that are read ahead.
const AHEAD: usize = 32;

/// The bytes of the shuffle buffer after which the memory is looked at again.
const STEP: usize = 64 << 20;

/// Separate the streams of random numbers from others of the same seed.
const FILES: u64 = 0x0066_696c_6573;
const BUFFER: u64 = 0x6275_6666_6572;

/// The order of samples, and the size of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub seed: u64,
    pub shuffle: bool,
    /// The samples of the shuffle buffer.
    pub buffer: usize,
    /// The samples of this rank in a batch.
    pub batch: usize,
}

/// The shards that a rank reads in a pass, in order, and of how many samples it takes one: where there are fewer shards
/// than ranks, all read all shards.
pub(super) fn shards_of(
    count: usize,
    shuffle: Option<u64>,
    pass: usize,
    rank: usize,
    ranks: usize,
) -> (Vec<usize>, (usize, usize)) {
    let mut order: Vec<usize> = (0..count).collect();
    if let Some(seed) = shuffle {
        order.shuffle(&mut stream(&[seed, pass as u64, FILES]));
    }
    match count < ranks {
        true => (order, (rank, ranks)),
        false => (order.into_iter().skip(rank).step_by(ranks.max(1)).collect(), (0, 1)),
    }
}

/// The batches of a rank in a pass.
pub(super) struct Pass {
    reader: Arc<Reader>,
    order: Order,
    shards: Vec<usize>,
    /// Of how many samples which one is taken.
    share: (usize, usize),
    random: Random,
    source: Source,
    buffer: Vec<Raw>,
    /// The bytes in the buffer, and those for which there is memory.
    held: usize,
    checked: usize,
}

/// Where the samples come from.
enum Source {
    /// The thread that reads is started with the first batch.
    Waiting,
    Reading(Receiver<Message>, Option<JoinHandle<()>>),
    Ended,
}

/// A message of the reading thread.
enum Message {
    Sample(Raw),
    Failed(Error),
    End,
}

impl Pass {
    pub fn new(reader: Arc<Reader>, order: Order, pass: usize, rank: usize, ranks: usize) -> Self {
        let shuffle = order.shuffle.then_some(order.seed);
        let (shards, share) = shards_of(reader.shards.len(), shuffle, pass, rank, ranks);
        let random = Random::new(&[order.seed, pass as u64, rank as u64, BUFFER]);
        let (buffer, held, checked) = (Vec::new(), 0, STEP);
        Self { reader, order, shards, share, random, source: Source::Waiting, buffer, held, checked }
    }

    /// Starts the thread that reads. It ends when this is dropped.
    fn start(&self) -> Result<Source> {
        let (sender, receiver) = sync_channel(AHEAD);
        let (reader, shards, (rank, ranks)) = (self.reader.clone(), self.shards.clone(), self.share);
        let read = move || {
            let mut put = |sample| match sender.send(Message::Sample(sample)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let mut sink = Sink::new(rank, ranks, &mut put);
            for shard in shards {
                match reader.read(&reader.shards[shard], &mut sink) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return,
                    Err(error) => {
                        let _ = sender.send(Message::Failed(error));
                        return;
                    }
                }
            }
            let _ = sender.send(Message::End);
        };
        let thread = Builder::new().name("brasa-shards".to_owned()).spawn(read);
        let thread = thread.map_err(|source| Error::thread("the reading of shards", source))?;
        Ok(Source::Reading(receiver, Some(thread)))
    }

    /// The next sample that the thread has read; `None` at the end.
    fn read(&mut self) -> Result<Option<Raw>> {
        if matches!(self.source, Source::Waiting) {
            self.source = self.start()?;
        }
        let Source::Reading(receiver, thread) = &mut self.source else { return Ok(None) };
        let message = receiver.recv();
        if let Ok(Message::Sample(sample)) = message {
            return Ok(Some(sample));
        }
        let thread = thread.take();
        self.source = Source::Ended;
        match message {
            Ok(Message::Failed(error)) => Err(error),
            Ok(_) => Ok(None),
            // It has ended without saying so.
            Err(_) => match thread.map(JoinHandle::join) {
                Some(Err(panic)) => resume_unwind(panic),
                _ => Ok(None),
            },
        }
    }

    /// The next sample out of the shuffle buffer; `None` at the end.
    fn next_sample(&mut self) -> Result<Option<Raw>> {
        let size = if self.order.shuffle { self.order.buffer.max(1) } else { 1 };
        while self.buffer.len() < size {
            let Some(sample) = self.read()? else { break };
            self.held = self.held.saturating_add(sample.bytes());
            if self.held > self.checked {
                self.check_memory()?;
            }
            self.buffer.push(sample);
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let index = if size > 1 { self.random.below(self.buffer.len()) } else { 0 };
        let sample = self.buffer.swap_remove(index);
        self.held = self.held.saturating_sub(sample.bytes());
        Ok(Some(sample))
    }

    /// Refuses a shuffle buffer for which there is no memory.
    fn check_memory(&mut self) -> Result<()> {
        const WHAT: &str = "the shuffle buffer (`shuffle_buffer` is its number of samples)";
        if limit().is_some() {
            check_room(WHAT, self.held.div_ceil(size_of::<f32>()))?;
        } else {
            // What it holds is no longer available.
            check_room(WHAT, (STEP + 1).div_ceil(size_of::<f32>()) + 1)?;
        }
        self.checked = self.held.saturating_add(STEP);
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Pending>> {
        let mut samples = Vec::new();
        while samples.len() < self.order.batch {
            match self.next_sample()? {
                Some(sample) => samples.push(sample),
                None => break,
            }
        }
        if samples.is_empty() {
            return Ok(None);
        }
        let reader = self.reader.clone();
        Ok(Some(Pending::new(samples.len(), move || reader.decoder.batch(&samples))))
    }
}

impl Iterator for Pass {
    type Item = Result<Pending>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch();
        if batch.is_err() {
            self.source = Source::Ended;
            self.buffer.clear();
        }
        batch.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoder;
    use super::super::location::Location;
    use super::super::reader::{Format, Known, Shard};
    use super::*;
    use crate::datasets::{Csv, save_npz};

    #[test]
    fn the_buffer_holds_no_more_samples_than_it_has_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let shards = (0..5).map(|shard| {
            let path = folder.path().join(format!("{shard}.npz"));
            let (x, y) = (ndarray::ArrayD::<f32>::zeros(vec![30, 4]), ndarray::ArrayD::<f32>::zeros(vec![30]));
            save_npz(&path, [("x", &x), ("y", &y)]).unwrap();
            Shard { x: Location::local(path).unwrap(), y: None }
        });
        let reader = Reader {
            format: Format::Npz,
            shards: shards.collect(),
            csv: Csv::new(),
            known: Known::default(),
            decoder: Decoder::default(),
        };
        let order = Order { seed: 1, shuffle: true, buffer: 12, batch: 4 };
        let mut pass = Pass::new(Arc::new(reader), order, 0, 0, 1);
        let mut samples = 0;
        while let Some(batch) = pass.next() {
            samples += batch.unwrap().len();
            // Each takes a few hundred bytes besides its five numbers.
            assert!(pass.buffer.len() <= 12 && pass.held <= 12 * 400, "{} bytes", pass.held);
        }
        assert_eq!((samples, pass.held), (150, 0));
        assert!(pass.next().is_none());
    }

    #[test]
    fn each_shard_is_read_by_one_rank() {
        for ranks in 1..5 {
            let mut all: Vec<usize> = (0..ranks).flat_map(|rank| shards_of(7, Some(3), 2, rank, ranks).0).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{ranks}");
        }
        assert_ne!(shards_of(20, Some(3), 0, 0, 1).0, shards_of(20, Some(3), 1, 0, 1).0);
        assert_eq!(shards_of(20, Some(3), 1, 0, 1).0, shards_of(20, Some(3), 1, 0, 1).0);
        assert_eq!(shards_of(2, None, 1, 2, 3), (vec![0, 1], (2, 3)));
        assert_eq!(shards_of(5, None, 1, 1, 2), (vec![1, 3], (0, 1)));
    }
}
