//! The limits of requests: memory, from a budget that all of them share, permits, time and pixels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::fault::{Fault, FaultResult};
use super::signature::MOST_PIXELS;

/// Bytes that requests may take at once.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The share of one request, empty at first.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { budget: self.clone(), bytes: AtomicUsize::new(0), refused: AtomicUsize::new(0) })
    }
}

/// One request's share of the budget, released on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
    /// The sum that was refused; 0 where none was.
    refused: AtomicUsize,
}

impl Share {
    /// Takes more; nothing is taken where it is refused.
    pub fn take(&self, bytes: usize) -> FaultResult<()> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.budget.most);
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => {
                let sum = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
                self.refused.store(sum.max(1), Ordering::Relaxed);
                Err(self.fault(sum))
            }
        }
    }

    /// What is left of a request is its answer, of so many bytes.
    pub fn becomes(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        if bytes > before {
            self.budget.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    /// The refusal of what would be `sum` for this request.
    fn fault(&self, sum: usize) -> Fault {
        let most = self.budget.most;
        if sum > most {
            return Fault::too_large(format!("the request needs {sum} bytes; at most {most} are allowed for requests"));
        }
        Fault::busy(format!("the memory for requests, {most} bytes, is in use; try again later"))
    }

    /// The refusal, if there was one.
    fn refused(&self) -> Option<Fault> {
        let sum = self.refused.load(Ordering::Relaxed);
        (sum > 0).then(|| self.fault(sum))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The pixels of all images of one request.
const MOST_PIXELS_AT_ONCE: u64 = 4 * MOST_PIXELS;

/// The limits of one request, and what it holds until the last copy of this is gone.
#[derive(Clone, Debug)]
pub(super) struct RequestLimits {
    /// Samples.
    pub rows: usize,
    pub share: Arc<Share>,
    until: Instant,
    /// The time that it had, for messages.
    time: Duration,
    /// Whether nobody waits for the answer any more.
    gone: Arc<AtomicBool>,
    pixels: Arc<AtomicU64>,
    /// Its permit, which counts it among the requests that are served at once.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl RequestLimits {
    pub fn new(rows: usize, share: Arc<Share>, begun: Instant, time: Duration) -> Self {
        let until = begun.checked_add(time).unwrap_or(begun);
        Self { rows, share, until, time, gone: Arc::default(), pixels: Arc::default(), _permit: None }
    }

    /// With a permit, which counts it among the requests that are served at once.
    #[must_use]
    pub fn with_permit(mut self, permit: OwnedSemaphorePermit) -> Self {
        self._permit = Some(Arc::new(permit));
        self
    }

    /// At the end of this nobody waits for the answer any more.
    pub fn asker(&self) -> Asker {
        Asker(self.gone.clone())
    }

    /// Refuses to go on for nobody, or beyond the time.
    pub fn goes_on(&self) -> Result<(), String> {
        if self.gone.load(Ordering::Relaxed) || Instant::now() >= self.until {
            return Err("the client has disconnected or the request timed out".to_owned());
        }
        Ok(())
    }

    /// Takes the pixels of an image that is about to be decoded.
    pub fn take_pixels(&self, pixels: u64) -> Result<(), String> {
        let before = self.pixels.fetch_add(pixels.min(MOST_PIXELS_AT_ONCE + 1), Ordering::Relaxed);
        if before.saturating_add(pixels) > MOST_PIXELS_AT_ONCE {
            return Err(format!("expected images of up to {MOST_PIXELS_AT_ONCE} pixels together, received more"));
        }
        Ok(())
    }

    /// The refusal behind a failure that only had a message.
    pub fn refused(&self) -> Option<Fault> {
        let late = || (Instant::now() >= self.until).then(|| self.too_late());
        self.share.refused().or_else(late)
    }

    /// What is said where there was no answer in time.
    pub fn too_late(&self) -> Fault {
        let seconds = self.time.as_secs_f64();
        Fault::timed_out(format!("expected an answer within {seconds} seconds, received none"))
    }
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(100);
        let (one, two) = (budget.share(), budget.share());
        assert!(one.take(60).is_ok() && two.take(41).is_err() && two.take(40).is_ok());
        assert!(two.refused().is_some() && one.refused().is_none());
        drop(one);
        assert_eq!(budget.used(), 40);
        two.becomes(70);
        assert_eq!(budget.used(), 70);
        two.becomes(10);
        assert_eq!(budget.used(), 10);
        drop(two);
        assert_eq!(budget.used(), 0);
        assert!(budget.share().take(usize::MAX).is_err());
    }

    #[test]
    fn what_never_fits_is_no_matter_of_trying_again() {
        let budget = Budget::new(100);
        let (one, other) = (budget.share(), budget.share());
        one.take(60).unwrap();
        let status = |fault: Fault| fault.into_response().status().as_u16();
        assert_eq!(status(one.take(41).unwrap_err()), 413);
        assert_eq!(one.refused().map(status), Some(413));
        assert_eq!(status(other.take(41).unwrap_err()), 429);
        assert_eq!(other.refused().map(status), Some(429));
    }

    #[test]
    fn a_request_ends_with_its_time_its_asker_and_its_pixels() {
        let own = RequestLimits::new(1, Budget::new(100).share(), Instant::now(), Duration::from_secs(3600));
        assert!(own.goes_on().is_ok() && own.refused().is_none());
        assert!(own.take_pixels(4 * MOST_PIXELS).is_ok() && own.take_pixels(1).is_err());
        let (copy, asker) = (own.clone(), own.asker());
        drop(asker);
        assert!(copy.goes_on().is_err());
        let late = RequestLimits::new(1, Budget::new(100).share(), Instant::now(), Duration::ZERO);
        assert!(late.goes_on().is_err() && late.refused().is_some());
    }
}
