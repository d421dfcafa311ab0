//! Digests of several tensors at once, fed with row chunks in any order, hashed in row order by
//! whichever thread has time. SHA-256 of one tensor is serial; that of many tensors, and of one
//! tensor beside the work that makes the others, is not.

use contract::digest::{Hashed, TensorHasher};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ndarray::Array2;

/// A set of tensors being hashed.
pub struct Lanes {
    lanes: Mutex<Vec<Lane>>,
    advanced: Condvar,
}

struct Lane {
    /// Index of the chunk to be hashed next.
    next: usize,
    waiting: BTreeMap<usize, Arc<Array2<f32>>>,
    /// Taken out while some thread hashes.
    hasher: Option<TensorHasher>,
}

impl Lanes {
    pub fn new(hashers: Vec<TensorHasher>) -> Lanes {
        let lane = |hasher| Lane { next: 0, waiting: BTreeMap::new(), hasher: Some(hasher) };
        Lanes {
            lanes: Mutex::new(hashers.into_iter().map(lane).collect()),
            advanced: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over chunk `index` of tensor `lane`; hashes what has come into order unless another
    /// thread already does.
    pub fn push(&self, lane: usize, index: usize, chunk: Arc<Array2<f32>>) {
        let mut lanes = self.lock();
        lanes[lane].waiting.insert(index, chunk);
        loop {
            let next = lanes[lane].next;
            let Some(mut hasher) = lanes[lane].hasher.take() else { return };
            let Some(chunk) = lanes[lane].waiting.remove(&next) else {
                lanes[lane].hasher = Some(hasher);
                return;
            };
            drop(lanes);
            hasher.update(&chunk);
            drop(chunk);
            lanes = self.lock();
            lanes[lane].hasher = Some(hasher);
            lanes[lane].next += 1;
            self.advanced.notify_all();
        }
    }

    /// Waits until the slowest tensor is within `ahead` chunks of `index`, so that memory stays
    /// bounded; returns at once when `stop` says so.
    pub fn wait_for_room(&self, index: usize, ahead: usize, stop: impl Fn() -> bool) {
        let mut lanes = self.lock();
        while !stop()
            && lanes.iter().map(|lane| lane.next).min().is_some_and(|n| index >= n + ahead)
        {
            lanes = self.advanced.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes all that wait for room.
    pub fn wake(&self) {
        drop(self.lock());
        self.advanced.notify_all();
    }

    /// The digests, in the order of the hashers given. Every chunk must have been pushed.
    pub fn finish(self) -> Vec<Hashed> {
        let lanes = self.lanes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hasher = |lane: Lane| lane.hasher.unwrap_or_else(|| unreachable!("no push is running"));
        lanes.into_iter().map(|lane| hasher(lane).finish()).collect()
    }
}
