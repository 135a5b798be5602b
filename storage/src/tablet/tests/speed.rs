//! Measurements in CPU time, for an optimised build: `cargo test --release -p starling-storage tablet_speed -- --ignored --nocapture`.

use super::*;
use crate::index::tests::cpu_time;
use futures_lite::future::block_on;

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
    let start = cpu_time();
    let mut scan = tablet.snapshot(Seq(at)).scan(ScanSpec { columns: vec![1], ..ScanSpec::default() });
    let mut rows = 0;
    while let Some(batch) = scan.next().await.unwrap() {
        rows += batch.num_rows() as u64;
    }
    (rows, rows as f64 / (cpu_time() - start).as_secs_f64() / 1e6)
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
            let start = cpu_time();
            for batch in &batches {
                seq += 1;
                commit(&tablet, seq, batch.clone()).await;
                if seq % 16 == 0 {
                    tablet.reclaim(Seq(seq));
                }
            }
            println!("{pass}: {:.2} M rows/s in batches of 10k", 2e6 / (cpu_time() - start).as_secs_f64() / 1e6);
        }
        println!("index: {:.2} bytes/key", tablet.stats().index_bytes as f64 / tablet.stats().index_keys as f64);
        println!("scan of memory, half dead: {:?} (rows, M rows/s)", sum(&tablet, seq).await);
        let start = cpu_time();
        let report = flush(&tablet, Seq(seq), &edits).await;
        println!("flush: {:.2} M rows/s in, {} out", 4e6 / (cpu_time() - start).as_secs_f64() / 1e6, report.rows_out);
        tablet.reclaim(Seq(seq));
        sum(&tablet, seq).await;
        println!("scan of files, none dead: {:?}", sum(&tablet, seq).await);
        for batch in &batches[..60] {
            seq += 1;
            commit(&tablet, seq, batch.clone()).await;
        }
        println!("scan, 30 % of the file dead: {:?}", sum(&tablet, seq).await);
        let ones: Vec<RecordBatch> = (0..100_000).map(|n| batches[n % 200].slice(n / 200, 1)).collect();
        // The clock ticks in milliseconds: staging alone first, then both.
        let start = cpu_time();
        for one in &ones {
            drop(tablet.stage(Rows::upserts(one.clone())).await.unwrap());
        }
        let stage = (cpu_time() - start).as_nanos() / 100_000;
        let start = cpu_time();
        for one in &ones {
            seq += 1;
            commit(&tablet, seq, one.clone()).await;
            if seq % 1000 == 0 {
                tablet.reclaim(Seq(seq));
            }
        }
        let both = (cpu_time() - start).as_nanos() / 100_000;
        println!("one row: stage {stage} ns, apply {} ns", both - stage);
        flush(&tablet, Seq(seq), &edits).await;
        let start = cpu_time();
        let state = edits.state.borrow().clone();
        let tablet = reopened(Shape::BigInt, &sim, limits, state).await.unwrap();
        let open = cpu_time() - start;
        tablet.index().await.unwrap();
        let keys = tablet.stats().index_keys;
        println!(
            "open {open:?}, index of {keys} keys at {:.2} M/s",
            keys as f64 / (cpu_time() - start).as_secs_f64() / 1e6
        );
    });
}
