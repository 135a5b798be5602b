//! Measurements, for an optimised build: `cargo test --release -p starling-storage tablet_speed -- --ignored --nocapture`.

use super::*;
use futures_lite::future::block_on;
use std::time::Instant;

fn batch(ids: impl Iterator<Item = u64>) -> RecordBatch {
    let ids: Vec<i64> = ids.map(|id| crate::key::mix64(id) as i64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (id & 0xffff) as i32))),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("status {}", id & 7)))),
    ];
    RecordBatch::try_new(Shape::BigInt.schema().arrow(), columns).unwrap()
}

async fn commit(tablet: &Tablet, seq: u64, rows: RecordBatch) {
    let staged = tablet.stage(Rows::upserts(rows)).await.unwrap();
    let part = tablet.part(&staged);
    tablet.apply(Seq(seq), &part, Some(staged)).await.unwrap();
}

async fn sum(tablet: &Tablet, at: u64) -> (u64, f64) {
    let start = Instant::now();
    let mut scan = tablet.snapshot(Seq(at)).scan(ScanSpec { columns: vec![1], ..ScanSpec::default() });
    let mut rows = 0;
    while let Some(batch) = scan.next().await.unwrap() {
        rows += batch.num_rows() as u64;
    }
    (rows, rows as f64 / start.elapsed().as_secs_f64() / 1e6)
}

#[test]
#[ignore = "a measurement"]
fn tablet_speed() {
    block_on(async {
        let (sim, edits) = (SimDisk::new(1), Edits::default());
        let limits = TabletLimits { memtable_rows: 4 << 20, memtable_bytes: 1 << 30, ..TabletLimits::default() };
        let tablet = new_tablet(Shape::BigInt, &sim, limits.clone()).await;
        let batches: Vec<RecordBatch> = (0..200).map(|n| batch(n * 10_000..(n + 1) * 10_000)).collect();
        let mut seq = 0;
        for pass in ["insert", "update"] {
            let start = Instant::now();
            for batch in &batches {
                seq += 1;
                commit(&tablet, seq, batch.clone()).await;
                if seq % 16 == 0 {
                    tablet.reclaim(Seq(seq));
                }
            }
            println!("{pass}: {:.2} M rows/s in batches of 10k", 2e6 / start.elapsed().as_secs_f64() / 1e6);
        }
        println!("index: {:.2} bytes/key", tablet.stats().index_bytes as f64 / tablet.stats().index_keys as f64);
        println!("scan of memory, half dead: {:?} (rows, M rows/s)", sum(&tablet, seq).await);
        let start = Instant::now();
        let report = flush(&tablet, Seq(seq), &edits).await;
        println!("flush: {:.2} M rows/s in, {} out", 4e6 / start.elapsed().as_secs_f64() / 1e6, report.rows_out);
        tablet.reclaim(Seq(seq));
        sum(&tablet, seq).await;
        println!("scan of files, none dead: {:?}", sum(&tablet, seq).await);
        for batch in &batches[..60] {
            seq += 1;
            commit(&tablet, seq, batch.clone()).await;
        }
        println!("scan, 30 % of the file dead: {:?}", sum(&tablet, seq).await);
        let ones: Vec<RecordBatch> = (0..100_000).map(|n| batches[n % 200].slice(n / 200, 1)).collect();
        let (mut stage, mut apply) = (0, 0);
        for one in ones {
            seq += 1;
            let start = Instant::now();
            let staged = tablet.stage(Rows::upserts(one)).await.unwrap();
            let part = tablet.part(&staged);
            stage += start.elapsed().as_nanos();
            let start = Instant::now();
            tablet.apply(Seq(seq), &part, Some(staged)).await.unwrap();
            apply += start.elapsed().as_nanos();
            if seq % 1000 == 0 {
                tablet.reclaim(Seq(seq));
            }
        }
        println!("one row: stage {} ns, apply {} ns", stage / 100_000, apply / 100_000);
        flush(&tablet, Seq(seq), &edits).await;
        let start = Instant::now();
        let state = edits.state.borrow().clone();
        let tablet = reopened(Shape::BigInt, &sim, limits, state).await.unwrap();
        let open = start.elapsed();
        tablet.index().await.unwrap();
        let keys = tablet.stats().index_keys;
        println!("open {open:?}, index of {keys} keys at {:.2} M/s", keys as f64 / start.elapsed().as_secs_f64() / 1e6);
    });
}
