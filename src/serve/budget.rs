//! A memory budget shared by all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::fault::{Fault, Served};

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
        Arc::new(Share { budget: self.clone(), bytes: AtomicUsize::new(0), refused: AtomicBool::new(false) })
    }
}

/// One request's share of the budget, released on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
    refused: AtomicBool,
}

impl Share {
    /// Takes more; nothing is taken where it is refused.
    pub fn take(&self, bytes: usize) -> Served<()> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.budget.most);
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => {
                self.refused.store(true, Ordering::Relaxed);
                Err(self.fault(bytes))
            }
        }
    }

    fn fault(&self, bytes: usize) -> Fault {
        let most = self.budget.most;
        if bytes > most {
            return Fault::too_large(format!(
                "expected what fits in the memory for requests, {most} bytes, received what takes {bytes}"
            ));
        }
        Fault::busy(format!("the memory for requests, {most} bytes, is in use; try again later"))
    }

    /// The refusal, if there was one.
    pub fn refused(&self) -> Option<Fault> {
        self.refused.load(Ordering::Relaxed).then(|| self.fault(0))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The limits of one request.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    /// Samples.
    pub rows: usize,
    pub share: Arc<Share>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(100);
        let (one, two) = (budget.share(), budget.share());
        assert!(one.take(60).is_ok() && two.take(41).is_err() && two.take(40).is_ok());
        assert!(two.refused().is_some() && one.refused().is_none());
        drop(one);
        assert_eq!(budget.used(), 40);
        drop(two);
        assert_eq!(budget.used(), 0);
        assert!(budget.share().take(usize::MAX).is_err());
    }
}
