//! A measurement on a real directory, not a check: an orders table of a million rows written, scanned and read row by row, and
//! the longest stretches between two yields. `cargo test --release -p starling-storage -- --ignored --nocapture segment_speed`.

use super::*;
use crate::disk::{DirEntry, Disk, FileRef, GlommioDisk};
use async_trait::async_trait;
use std::cell::RefCell;
use std::time::Instant;

/// Notes how long its caller computes between two chances to yield.
struct Stopwatch {
    inner: DiskRef,
    last: RefCell<Instant>,
    stretches: RefCell<Vec<u64>>,
}

impl Stopwatch {
    fn note(&self) {
        self.stretches.borrow_mut().push(self.last.borrow().elapsed().as_micros() as u64);
    }
}

#[async_trait(?Send)]
impl Disk for Stopwatch {
    async fn create(&self, path: &str) -> Result<FileRef> {
        self.inner.create(path).await
    }
    async fn open(&self, path: &str) -> Result<FileRef> {
        self.inner.open(path).await
    }
    async fn remove(&self, path: &str) -> Result<()> {
        self.inner.remove(path).await
    }
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.rename(from, to).await
    }
    async fn list(&self, dir: &str) -> Result<Vec<DirEntry>> {
        self.inner.list(dir).await
    }
    async fn create_dir(&self, dir: &str) -> Result<()> {
        self.inner.create_dir(dir).await
    }
    async fn sync_dir(&self, dir: &str) -> Result<()> {
        self.inner.sync_dir(dir).await
    }
    async fn yield_now(&self) {
        self.note();
        self.inner.yield_now().await;
        *self.last.borrow_mut() = Instant::now();
    }
    fn now_micros(&self) -> u64 {
        self.inner.now_micros()
    }
}

fn orders(rows: usize) -> (TabletSchema, RecordBatch) {
    let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
    let types = [ColumnType::Varchar(50), ColumnType::Varchar(20), decimal, ColumnType::DateTime];
    let schema = schema_of(&types, 1, 1);
    let mut random = Random(5);
    let ids = StringArray::from_iter_values((0..rows).map(|row| format!("order-{row:012}")));
    let states = ["created", "paid", "packed", "shipped", "delivered", "returned"];
    let status = StringArray::from_iter_values((0..rows).map(|_| states[random.below(6) as usize]));
    let amounts = Decimal128Array::from_iter_values((0..rows).map(|_| random.below(1_000_000) as i128));
    let amounts = amounts.with_precision_and_scale(10, 2).unwrap();
    let start = 1_790_000_000_000_000;
    let times = (0..rows).map(|row| start + row as i64 * 1_000 + random.below(1_000_000) as i64);
    let times = TimestampMicrosecondArray::from_iter_values(times);
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(status), Arc::new(amounts), Arc::new(times)];
    (schema.clone(), RecordBatch::try_new(schema.arrow(), columns).unwrap())
}

async fn measure(disk: DiskRef, stopwatch: Rc<Stopwatch>) {
    let rows = 1_000_000;
    let (schema, batch) = orders(rows);
    disk.create_dir("seg").await.unwrap();
    let report = |what: &str, start: Instant, count: usize| {
        let seconds = start.elapsed().as_secs_f64();
        let mut stretches = stopwatch.stretches.take();
        stretches.sort_unstable();
        let long = stretches.iter().filter(|&&micros| micros > 200).count();
        println!(
            "{what:24} {:8.1} ms  {:8.1} ns each  longest stretches {:?} us, {long} of {} over 200",
            seconds * 1e3,
            seconds * 1e9 / count as f64,
            &stretches[stretches.len().saturating_sub(3)..],
            stretches.len(),
        );
    };
    let start = Instant::now();
    let meta = write(&disk, &schema, &batch, 8192).await.unwrap();
    report("write", start, rows);
    println!("{} bytes, {:.2} a row", meta.bytes, meta.bytes as f64 / rows as f64);
    let cache = PageCache::new(256 << 20);
    let segment = Segment::open(&disk, &cache, &ID.path(), ID).await.unwrap();
    for pass in ["cold", "warm"] {
        for columns in [vec![0], vec![1], vec![2, 3], vec![0, 1, 2, 3]] {
            if pass == "cold" {
                cache.forget(ID);
            }
            let start = Instant::now();
            for from in (0..rows as u32).step_by(CHUNK_ROWS) {
                segment.read(&columns, from, (rows as u32 - from).min(CHUNK_ROWS as u32)).await.unwrap();
            }
            report(&format!("{pass} scan of {columns:?}"), start, rows);
        }
    }
    for pass in ["cold", "warm"] {
        if pass == "cold" {
            cache.forget(ID);
        }
        let mut random = Random(9);
        let start = Instant::now();
        for _ in 0..2000 {
            segment.take(&[0, 1, 2, 3], &[random.below(rows as u64) as u32]).await.unwrap();
        }
        report(&format!("{pass} single rows"), start, 2000);
    }
    println!("{:?}", cache.stats());
}

#[test]
#[ignore = "a measurement, not a check"]
fn segment_speed() {
    let dir = std::env::temp_dir().join(format!("starling-segment-speed-{}", std::process::id()));
    let path = dir.clone();
    let executor = glommio::LocalExecutorBuilder::default().spawn(move || async move {
        let inner: DiskRef = Rc::new(GlommioDisk::open(path).await.unwrap());
        let (last, stretches) = (RefCell::new(Instant::now()), RefCell::default());
        let stopwatch = Rc::new(Stopwatch { inner, last, stretches });
        measure(stopwatch.clone(), stopwatch).await;
    });
    executor.unwrap().join().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}
