use std::io::Write as _;

use ndarray::Array2;

use super::variants::{SINGLE, TRIPLE, WINDOW};
use super::*;

/// What the kernels do with their arguments, on the host, one column of each column block: worker
/// by worker, each in one go, which serves because every wait is for a worker of lower index.
/// `None` where the variant does not serve A.
fn emulate(
    a: &Array2<f32>,
    v: &Array2<f32>,
    variant: &Variant,
    workers: usize,
) -> Option<Array2<f32>> {
    let pattern = Pattern::of(a.view(), 2);
    let column_blocks = v.ncols();
    let tile_cols = match variant {
        Variant::Chunked(_) => chunked::TILE_COLS,
        Variant::Windowed(_) => windowed::TILE_COLS,
    };
    let a_slice = a.as_slice().expect("made row-major");
    let n = (column_blocks - 1) * tile_cols + 1;
    let host = HostWork::new(a_slice, &pattern, n, variant, workers, 2)?;
    assert_eq!(host.column_blocks, column_blocks);
    let (row_index, slots) = match (&host.packed, variant) {
        (HostPacked::Chunked(packed), Variant::Chunked(shape)) => {
            (&packed.row_index, shape.panel_rows())
        }
        (HostPacked::Windowed(packed), Variant::Windowed(shape)) => {
            (&packed.row_index, shape.panel_rows())
        }
        _ => unreachable!(),
    };
    let mut rows: Vec<i32> = row_index.iter().copied().filter(|row| *row >= 0).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..a.nrows() as i32), "every row is in one place");
    let mut y = Array2::from_elem((a.nrows(), column_blocks), f32::NAN);
    let mut partials = vec![Vec::new(); host.lists.slots];
    for segment in &host.lists.segments {
        let (panel, block) =
            (segment.tile as usize / column_blocks, segment.tile as usize % column_blocks);
        let mut acc = match segment.from {
            -1 => vec![0.0f32; slots],
            slot => std::mem::take(&mut partials[slot as usize]),
        };
        assert_eq!(acc.len(), slots, "continued from nothing");
        let first = host.chunk_begin[panel] as usize;
        for step in segment.step_begin as usize..segment.step_end as usize {
            match (&host.packed, variant) {
                (HostPacked::Chunked(packed), Variant::Chunked(shape)) => {
                    chunk(packed, shape, first + step, v, block, &mut acc);
                }
                (HostPacked::Windowed(packed), Variant::Windowed(shape)) => {
                    window(packed, shape, (panel, first, step), v, block, &mut acc);
                }
                _ => unreachable!(),
            }
        }
        if segment.to >= 0 {
            partials[segment.to as usize] = acc;
            continue;
        }
        for (acc, &row) in acc.into_iter().zip(&row_index[panel * slots..]) {
            if row >= 0 {
                let y = &mut y[[row as usize, block]];
                assert!(y.is_nan(), "row {row} is written twice");
                *y = acc + 0.0;
            }
        }
    }
    Some(y)
}

fn chunk(
    packed: &chunked::Packed,
    shape: &chunked::Chunked,
    q: usize,
    v: &Array2<f32>,
    block: usize,
    acc: &mut [f32],
) {
    let runs = &packed.k_runs[packed.k_begin[q] as usize..packed.k_begin[q + 1] as usize];
    let piece =
        &packed.entries[packed.entry_begin[q] as usize * 4..packed.entry_begin[q + 1] as usize * 4];
    assert!(runs.len() <= shape.bk / chunked::RUN && runs.len() <= 32);
    assert!(piece.len() * 4 <= shape.entries_max);
    let head_words = (shape.groups + 4) / 4 * 4;
    let entry_words = shape.rows + 1;
    for warp in 0..shape.warps {
        let mut at = piece[warp * head_words] as usize / 4;
        for group in 0..shape.groups {
            let end = piece[warp * head_words + 1 + group] as usize / 4;
            assert!((end - at).is_multiple_of(entry_words));
            // Vector loads.
            assert!(at.is_multiple_of(if shape.rows == 1 { 2 } else { 4 }));
            for entry in piece[at..end].chunks(entry_words) {
                let slot = entry[0] as usize / (chunked::TILE_COLS * 4);
                let k = runs[slot / chunked::RUN] as usize + slot % chunked::RUN;
                for (r, x) in entry[1..].iter().enumerate() {
                    let acc = &mut acc[(warp * shape.groups + group) * shape.rows + r];
                    *acc = f32::from_bits(*x).mul_add(v[[k, block]], *acc);
                }
            }
            at = end;
        }
    }
}

fn window(
    packed: &windowed::Packed,
    shape: &windowed::Windowed,
    (panel, first, step): (usize, usize, usize),
    v: &Array2<f32>,
    block: usize,
    acc: &mut [f32],
) {
    let windowed::Geometry { bk, ring, window, piece_bytes, .. } = packed.geometry;
    assert!(window < ring && ring <= 32 && bk <= 256 && bk.is_multiple_of(4));
    let [begin, size, ..] = packed.chunks[first + step].map(|x| x as usize);
    let piece = &packed.entries[begin * 4..(begin + size) * 4];
    assert!(piece.len() * 4 <= piece_bytes && piece_bytes.is_multiple_of(16));
    let groups = packed.panel_groups[panel] as usize;
    assert!(groups == 1 || groups == shape.groups);
    for warp in 0..shape.warps {
        let (at, rounds) = ((piece[warp] & 0xffff) as usize * 4, (piece[warp] >> 16) as usize);
        let entries = &piece[at..at + rounds * groups * 8];
        for (i, entry) in entries.chunks(2).enumerate() {
            if entry[0] == 0x8000_0000 {
                assert_eq!(entry[1], 0);
                continue;
            }
            let row = entry[0] as usize / (windowed::TILE_COLS * 4);
            let place = row / bk;
            // How many chunks ago it came.
            let back = (step + ring - place) % ring;
            assert!(place < ring && back < window && back <= step, "not in the window");
            let k = packed.chunks[first + step - back][2] as usize + row % bk;
            let acc = &mut acc[warp * shape.groups * 4 + i % (groups * 4)];
            *acc = f32::from_bits(entry[1]).mul_add(v[[k, block]], *acc);
        }
    }
}

fn value(i: usize, j: usize) -> f32 {
    let x = (i as u32).wrapping_mul(0x9e37_79b9) ^ (j as u32).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 15).wrapping_mul(0x2c1b_3c6d);
    let x = (x ^ x >> 12) >> 8;
    (x as f32 - 8_388_607.5) / 65536.0
}

fn is_live(i: usize, j: usize, part: f64) -> bool {
    let x = value(i * 7 + 13, j * 3 + 5) as f64 * 65536.0 + 8_388_607.5;
    x < part * 16_777_216.0
}

fn check(a: &Array2<f32>, column_blocks: usize, variants: &[Variant]) -> usize {
    let v = Array2::from_shape_fn((a.ncols(), column_blocks), |(i, j)| value(j + 1000, i));
    let want = Array2::from_shape_fn((a.nrows(), column_blocks), |(i, j)| {
        let entries = a.row(i).into_iter().zip(v.column(j)).filter(|(a, _)| **a != 0.0);
        entries.fold(0.0f32, |sum, (a, v)| a.mul_add(*v, sum)) + 0.0
    });
    let mut served = 0;
    for variant in variants {
        for workers in [1, 7, 132] {
            let Some(y) = emulate(a, &v, variant, workers) else { continue };
            served += 1;
            let differ = y.iter().zip(&want).filter(|(y, w)| y.to_bits() != w.to_bits()).count();
            assert_eq!(differ, 0, "{variant:?}, {:?}, {workers} workers", a.dim());
        }
    }
    served
}

fn all() -> [Variant; 3] {
    [Variant::Chunked(SINGLE), Variant::Chunked(TRIPLE), Variant::Windowed(WINDOW)]
}

#[test]
fn what_the_kernels_are_given_makes_y() {
    for (m, k) in [(1, 1), (37, 53), (300, 1000), (1300, 777), (513, 2049)] {
        for part in [0.5, 0.05, 0.01] {
            let a = Array2::from_shape_fn((m, k), |(i, j)| {
                // Empty rows, a full one.
                let live = i % 7 != 3 && (i == 5 || is_live(i, j, part));
                if live { value(i, j) } else { 0.0 }
            });
            let served = check(&a, 3, &all());
            assert!(served >= 6, "{m} x {k}, {part}");
        }
    }
}

#[test]
fn rows_of_very_different_length_serve() {
    let a = Array2::from_shape_fn((700, 900), |(i, j)| {
        if is_live(i, j, 10.0 / (i + 1) as f64) { value(i, j) } else { 0.0 }
    });
    check(&a, 2, &all());
    let blocks = Array2::from_shape_fn((500, 500), |(i, j)| {
        if (i / 50 * 3 + j / 50).is_multiple_of(5) { value(i, j) } else { 0.0 }
    });
    check(&blocks, 2, &all());
    // A single non-zero at the end, and nothing in most panels.
    let mut last = Array2::zeros((3000, 130));
    last[[2999, 129]] = -1.5;
    check(&last, 1, &all());
}

#[test]
fn windows_serve_sparse_matrices() {
    let a =
        Array2::from_shape_fn(
            (2500, 1500),
            |(i, j)| {
                if is_live(i, j, 0.01) { value(i, j) } else { 0.0 }
            },
        );
    assert_eq!(check(&a, 2, &[Variant::Windowed(WINDOW)]), 3);
}

/// Each variant, whichever the estimates would take: matrices this small never get windows.
#[test]
fn every_variant_runs_on_a_device() {
    let Some(device) = Device::for_tests() else { return };
    let Some(abilities) = Abilities::of(device.compute_capability()) else {
        let _ = writeln!(std::io::stderr(), "not run: {} has no SpMM kernel", device.info.name);
        return;
    };
    for ((m, k, n), part) in [((203, 571, 67), 0.1), ((203, 571, 5), 0.5), ((2500, 1500, 33), 0.01)]
    {
        let live = |i: usize, j: usize| i % 7 != 3 && is_live(i, j, part);
        let a = Array2::from_shape_fn((m, k), |(i, j)| if live(i, j) { value(i, j) } else { 0.0 });
        let v = Array2::from_shape_fn((k, n), |(i, j)| value(j + 1000, i));
        let slices = contract::arithmetic::Slices::One;
        let columns: Vec<Vec<f32>> = v.columns().into_iter().map(|x| x.to_vec()).collect();
        let want = Array2::from_shape_fn((m, n), |(i, j)| {
            let row = a.row(i);
            let row = row.as_slice().expect("made row-major");
            contract::arithmetic::chain::dot(slices, row, &columns[j]) + 0.0
        });
        let pattern = Pattern::of(a.view(), 2);
        let elements = a.as_slice().expect("made row-major");
        let there = DeviceMatrix::upload(&device, v.view(), Dtype::F32, "V").expect("V fits");
        let mut served = 0;
        for variant in all() {
            if matches!(variant, Variant::Windowed(_)) && !abilities.has_windows {
                continue;
            }
            let work = Work::new(&device, elements, &pattern, n, Dtype::F32, &variant, &abilities);
            let Some((work, description)) = work.expect("it builds") else { continue };
            let shape = (m, k, n);
            let packed = SpmmA { shape, output: Dtype::F32, description, work: Some(work) };
            let mut y = DeviceMatrix::new(&device, (m, n), Dtype::F32, "Y").expect("Y fits");
            // Twice: flags are lowered again by whoever waited for them.
            for _ in 0..2 {
                y.poison().expect("it runs");
                packed.launch(&there, &mut y).expect("it runs");
                let got = y.read().expect("it ran");
                let differ = got.iter().zip(&want).filter(|(y, w)| y.to_bits() != w.to_bits());
                assert_eq!(differ.count(), 0, "{variant:?}, {m} x {k} x {n}, {part}");
            }
            served += 1;
        }
        let _ = writeln!(
            std::io::stderr(),
            "{served} variants on {}: {m} x {k} x {n}, {part}",
            device.info.name
        );
        assert!(served >= 2, "{m} x {k} x {n}, {part}");
    }
}

#[test]
fn every_variant_is_one_that_the_kernels_take() {
    for shape in [SINGLE, TRIPLE] {
        let head = shape.warps * ((shape.groups + 4) / 4 * 4) * 4;
        let run = shape.warps * shape.groups * chunked::RUN * (shape.rows + 1) * 4;
        assert!(head + run <= shape.entries_max, "a run does not fit");
        assert!(shape.entries_max.is_multiple_of(16) && shape.bk.is_multiple_of(chunked::RUN));
        assert!(shape.shared_bytes(3, true) <= 232_448);
        assert!(shape.shared_bytes(1, true) <= 99 << 10);
        assert!(shape.shared_bytes(1, false) <= 99 << 10);
    }
}

/// Times measured on one H200, 132 multiprocessors, in microseconds.
#[test]
fn estimates_are_near_what_was_measured() {
    let (m, k) = (14336 / 8, 4096 / 8);
    // As many rows and columns as are needed for the counts; scaled below.
    for (part, want, measured_us) in [
        (0.30, "rows by three", 2460.0),
        (0.20, "single rows", 1734.0),
        (0.10, "single rows", 882.0),
        (0.05, "single rows", 467.5),
        (0.01, "windows", 170.5),
    ] {
        let a = Array2::from_shape_fn((m, k), |(i, j)| f32::from(u8::from(is_live(i, j, part))));
        let mut pattern = Pattern::of(a.view(), 2);
        (pattern.m, pattern.k) = (14336, 4096);
        pattern.nnz *= 64;
        pattern.union_of_three *= 64;
        pattern.longest = (4096.0 * part * 1.2) as usize;
        let abilities = Abilities::of((9, 0)).expect("served");
        let ranked = variants::ranked(&abilities, &pattern, 1024, 132);
        let (ns, variant) = ranked[0];
        println!("{part}: {ranked:?}");
        assert_eq!(variant.name(), want, "{part}");
        let ratio = ns as f64 / 1e3 / measured_us;
        assert!((0.9..1.15).contains(&ratio), "{part}: {ns} ns, measured {measured_us} us");
    }
}
