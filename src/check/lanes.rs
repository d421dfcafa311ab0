//! Digests of several tensors at once, fed with row chunks in any order, hashed in row order by
//! whichever thread has time. SHA-256 of one tensor is serial; that of many tensors, and of one
//! tensor beside the work that makes the others, is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ndarray::{Array2, ArrayView2};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::matrix::Dtype;

/// Row panels of an output, each with a short digest of its own.
pub const PANELS: usize = 64;

/// What is known of a hashed tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashed {
    pub digest: Digest,
    /// First 16 hex digits of each row panel's digest; empty where panels were not asked for.
    pub panels: Vec<String>,
    /// Whether all elements are equal: such a digest proves little.
    pub constant: bool,
}

/// Feeds rows of one tensor, in order, to its digests.
pub struct TensorHasher {
    dtype: Dtype,
    rows: usize,
    next_row: usize,
    whole: Sha256,
    panels: Option<(Sha256, Vec<String>)>,
    bytes: Vec<u8>,
    first: Option<u32>,
    constant: bool,
}

impl TensorHasher {
    pub fn new(dtype: Dtype, rows: usize, panels: bool) -> TensorHasher {
        let mut hasher = TensorHasher {
            dtype,
            rows,
            next_row: 0,
            whole: Sha256::new(),
            panels: panels.then(|| (Sha256::new(), Vec::with_capacity(PANELS))),
            bytes: Vec::new(),
            first: None,
            constant: true,
        };
        hasher.close_panels();
        hasher
    }

    /// The next rows.
    pub fn update(&mut self, rows: &Array2<f32>) {
        let columns = rows.ncols();
        let Some(values) = rows.as_slice() else { unreachable!("panels are row-major") };
        if self.constant {
            let first = *self.first.get_or_insert(values.first().map_or(0, |x| x.to_bits()));
            self.constant = values.iter().all(|x| x.to_bits() == first);
        }
        let mut done = 0;
        while done < rows.nrows() {
            let until = match &self.panels {
                Some((_, closed)) => panel_start(closed.len() + 1, self.rows) - self.next_row,
                None => rows.nrows() - done,
            };
            let take = until.min(rows.nrows() - done);
            let part = &values[done * columns..(done + take) * columns];
            let bytes: &[u8] = if self.dtype == Dtype::F32 && cfg!(target_endian = "little") {
                bytemuck::cast_slice(part)
            } else {
                self.bytes.clear();
                self.dtype.encode(part, &mut self.bytes);
                &self.bytes
            };
            self.whole.update(bytes);
            if let Some((panel, _)) = &mut self.panels {
                panel.update(bytes);
            }
            done += take;
            self.next_row += take;
            self.close_panels();
        }
    }

    /// Closes every panel that ends at the next row, empty ones included.
    fn close_panels(&mut self) {
        if let Some((panel, closed)) = &mut self.panels {
            while closed.len() < PANELS && panel_start(closed.len() + 1, self.rows) == self.next_row
            {
                let digest = Digest::finish(std::mem::take(panel)).to_string();
                closed.push(digest[..16].to_owned());
            }
        }
    }

    pub fn finish(self) -> Hashed {
        Hashed {
            digest: Digest::finish(self.whole),
            panels: self.panels.map(|(_, closed)| closed).unwrap_or_default(),
            constant: self.constant && self.first.is_some(),
        }
    }
}

/// Digest of a whole output (row-major, little-endian in `output`, -0 made +0), hashed as it is
/// encoded.
pub fn digest_of_output(y: ArrayView2<'_, f32>, output: Dtype) -> Digest {
    let mut hasher = Sha256::new();
    let (mut row, mut bytes) = (Vec::with_capacity(y.ncols()), Vec::new());
    for elements in y.rows() {
        row.clear();
        row.extend(elements.iter().map(|y| y + 0.0));
        bytes.clear();
        output.encode(&row, &mut bytes);
        hasher.update(&bytes);
    }
    Digest::finish(hasher)
}

/// First row of panel `p` of a tensor of `rows` rows.
pub fn panel_start(p: usize, rows: usize) -> usize {
    p * rows / PANELS
}

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
