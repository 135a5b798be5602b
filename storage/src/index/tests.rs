use super::*;
use crate::key::mix64;
use std::collections::HashMap;

fn at(n: u64) -> Locator {
    Locator { slot: (n % 7) as u16, row: n as u32 }
}

/// The slow twin: every entry of a tag in a Vec.
#[derive(Default)]
struct Twin(HashMap<u64, Vec<Locator>>);

impl Twin {
    fn check(&self, index: &PrimaryIndex) {
        let mut seen: HashMap<u64, Vec<Locator>> = HashMap::new();
        index.each(|tag, locator| seen.entry(tag).or_default().push(locator));
        seen.values_mut().for_each(|v| v.sort());
        let mut want = self.0.clone();
        want.retain(|_, v| !v.is_empty());
        want.values_mut().for_each(|v| v.sort());
        assert_eq!(seen, want);
        assert_eq!(index.len(), want.values().map(Vec::len).sum::<usize>());
    }
}

fn run(seed: u64, split_keys: usize, keys: u64, steps: u64) {
    let (mut index, mut twin, mut random) = (PrimaryIndex::with_shards(0, split_keys), Twin::default(), seed);
    for step in 0..steps {
        random = mix64(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let batch: Vec<u64> = (0..random % 90).map(|i| mix64(random ^ i) % keys).collect();
        let mut out = Vec::new();
        if random >> 60 < 10 {
            index.upsert(&batch, |i| at(step * 100 + i as u64), &mut out);
            for (i, &tag) in batch.iter().enumerate() {
                let entry = twin.0.entry(tag).or_default();
                assert_eq!(out[i], entry.first().copied().unwrap_or(Locator::NONE));
                *entry = vec![at(step * 100 + i as u64)];
            }
        } else if random >> 60 < 13 {
            index.erase(&batch, &mut out);
            for (i, tag) in batch.iter().enumerate() {
                assert_eq!(out[i], twin.0.remove(tag).and_then(|v| v.first().copied()).unwrap_or(Locator::NONE));
            }
        } else {
            index.probe(&batch, &mut out);
            for (i, tag) in batch.iter().enumerate() {
                assert_eq!(out[i], twin.0.get(tag).and_then(|v| v.first().copied()).unwrap_or(Locator::NONE));
            }
        }
    }
    twin.check(&index);
}

#[test]
fn agrees_with_the_slow_twin() {
    run(1, SPLIT_KEYS, 300, 2_000);
    run(2, SPLIT_KEYS, 60_000, 1_500);
    run(3, 30, 3_000, 4_000);
}

#[test]
fn colliding_tags_live_side_by_side() {
    let mut index = PrimaryIndex::default();
    for n in 0..1000 {
        index.insert(n % 10, at(n));
    }
    let mut found = Vec::new();
    index.candidates(&[3, 99], &mut found);
    assert_eq!(found.len(), 100);
    assert_eq!(index.replace_where(3, at(5000), |l| l == at(13)), Some(at(13)));
    assert_eq!(index.erase_where(3, |l| l == at(23)), Some(at(23)));
    assert_eq!(index.erase_where(3, |l| l == at(23)), None);
    assert_eq!(index.len(), 999);
}

#[test]
fn one_tag_beyond_a_shard_does_not_split_for_ever() {
    let mut index = PrimaryIndex::with_shards(0, 96);
    (0..1_000).for_each(|n| index.insert(7, at(n)));
    let mut found = Vec::new();
    index.candidates(&[7], &mut found);
    assert_eq!(found.len(), 1_000);
    assert!(index.directory.len() <= 1 << (SPARE_DEPTH + 5), "{} directory entries", index.directory.len());
}

#[test]
fn bytes_per_key_stay_bounded_and_exact() {
    for keys in [1_000u64, 100_000, 400_000] {
        let mut index = PrimaryIndex::default();
        let tags: Vec<u64> = (0..keys).map(mix64).collect();
        let mut out = Vec::new();
        index.upsert(&tags, |i| at(i as u64), &mut out);
        assert!(out.iter().all(|l| l.is_none()));
        let exact: usize = index.shards.iter().map(Shard::bytes).sum();
        assert_eq!(exact, index.shard_bytes);
        assert!(
            index.bytes() as f64 / (keys as f64) <= 17.5,
            "{keys} keys: {} bytes each",
            index.bytes() as f64 / keys as f64
        );
    }
    // Sized at once, as at open.
    let mut index = PrimaryIndex::with_capacity(400_000);
    let before = index.bytes();
    index.upsert(&(0..400_000).map(mix64).collect::<Vec<_>>(), |i| at(i as u64), &mut Vec::new());
    assert!(index.bytes() <= before + before / 20, "grew from {before} to {}", index.bytes());
}

#[test]
fn moved_entries_are_translated_in_slices_beside_inserts() {
    let mut index = PrimaryIndex::default();
    let tags: Vec<u64> = (0..150_000).map(mix64).collect();
    index.upsert(&tags, |i| Locator { slot: 1, row: i as u32 }, &mut Vec::new());
    let (mut cursor, mut extra, mut slices) = (0, 150_000u64, 0);
    let to = |l: Locator| if l.slot == 1 { Locator { slot: 2, row: l.row + 1 } } else { l };
    while !index.replace_moved(&mut cursor, 1_000, to) {
        let more: Vec<u64> = (extra..extra + 1_000).map(mix64).collect();
        index.upsert(&more, |i| Locator { slot: 3, row: i as u32 }, &mut Vec::new());
        (extra, slices) = (extra + 1_000, slices + 1);
    }
    assert!(slices > 3);
    let mut out = Vec::new();
    index.probe(&tags, &mut out);
    assert!(out.iter().enumerate().all(|(i, l)| *l == Locator { slot: 2, row: i as u32 + 1 }));
    assert_eq!(index.len() as u64, extra);
}

/// CPU time of this thread so far: other load on the machine does not count.
pub(crate) fn cpu_time() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    std::time::Duration::from_nanos(nanos)
}

/// Prints the figures of the report: `cargo test --release -p starling-storage index_speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn index_speed() {
    for keys in [1_000_000u64, 10_000_000] {
        let tags: Vec<u64> = (0..keys).map(mix64).collect();
        let mut out = Vec::with_capacity(tags.len());
        let mut index = PrimaryIndex::default();
        let start = cpu_time();
        for (n, batch) in tags.chunks(1024).enumerate() {
            index.upsert(batch, |i| at((n * 1024 + i) as u64), &mut out);
        }
        let insert = cpu_time() - start;
        out.clear();
        let start = cpu_time();
        index.upsert(&tags, |i| at(i as u64), &mut out);
        let upsert = cpu_time() - start;
        out.clear();
        let start = cpu_time();
        index.probe(&tags, &mut out);
        let probe = cpu_time() - start;
        let start = cpu_time();
        let mut built = PrimaryIndex::with_capacity(tags.len());
        out.clear();
        built.upsert(&tags, |i| at(i as u64), &mut out);
        let build = cpu_time() - start;
        let rate = |d: std::time::Duration| keys as f64 / d.as_secs_f64() / 1e6;
        println!(
            "{keys} keys: insert {:.1} M/s, upsert {:.1} M/s, probe {:.1} M/s, sized build {:.1} M/s, {:.2} bytes/key",
            rate(insert),
            rate(upsert),
            rate(probe),
            rate(build),
            index.bytes() as f64 / keys as f64
        );
    }
}
