use super::scan::{Scan, SegmentFile, scan};
use super::*;
use crate::disk::{BLOCK_BYTES, DiskRef, Fault, SimDisk};
use crate::error::{ErrorKind, Result, StorageError};
use crate::ids::{FileId, TabletId, TxnId};
use crate::log::block::{StreamId, StreamKind};
use crate::scheduler::{Random, Scheduler};
use crate::schema::{CompareOp, Predicate, Scalar};
use bytes::Bytes;
use futures_lite::future::block_on;
use proptest::prelude::*;
use std::cell::Cell;

const SEGMENT: u64 = 16 * BLOCK_BYTES as u64;

fn record(seq: u64, tablet: u64, bytes: usize) -> CommitRecord {
    let body = PartBody::Rows(Bytes::from(vec![seq as u8; bytes]));
    CommitRecord {
        seq: Seq(seq),
        txn: TxnId(seq),
        parts: vec![TabletPart { tablet: TabletId(tablet), schema_version: 1, body }],
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: SEGMENT, spare_segments: 1 }
}

async fn new_log(disk: &DiskRef) -> Rc<Log> {
    disk.create_dir("log").await.unwrap();
    Log::create(Rc::clone(disk), Epoch(1), CoreId(0), options(), Rc::new(|| Seq(0))).await.unwrap()
}

async fn append(log: &Log, record: &CommitRecord) -> Result<()> {
    let mut space = std::pin::pin!(log.reserve(record.encoded_len()));
    let space = loop {
        match futures_lite::future::poll_once(&mut space).await {
            Some(space) => break space?,
            None => log.prepare_for_tests().await?,
        }
    };
    let ticket = log.append(record, space);
    log.turn().await?;
    ticket.durable().await
}

async fn read(disk: &DiskRef) -> Result<(Vec<CommitRecord>, Scan)> {
    let mut segments = Vec::new();
    for entry in disk.list("log").await? {
        if let Some((_, _, index)) = parse_segment_name(&entry.name) {
            segments.push(SegmentFile { index, path: format!("log/{}", entry.name) });
        }
    }
    let mut records = Vec::new();
    let stream = StreamId { kind: StreamKind::Log, epoch: 1, core: 0 };
    let scan = scan(disk, stream, &segments, true, &mut |r| {
        records.push(CommitRecord::decode(Bytes::from(r.bytes))?);
        Ok(())
    })
    .await?;
    Ok((records, scan))
}

#[test]
fn what_is_durable_is_read_back_in_order_also_across_segments() {
    block_on(async {
        let sim = SimDisk::new(1);
        let log = new_log(&sim.disk()).await;
        let records: Vec<_> = [10, 5000, 0, 40_000, 200_000, 3]
            .iter()
            .enumerate()
            .map(|(n, &len)| record(n as u64 + 1, n as u64, len))
            .collect();
        for r in &records {
            append(&log, r).await.unwrap();
        }
        sim.lose_power();
        let (found, _) = read(&sim.restart().disk()).await.unwrap();
        assert_eq!(found, records);
    });
}

#[test]
fn concurrent_commits_share_a_sync() {
    let sim = SimDisk::new(2);
    let scheduler = Scheduler::new(Random::new(2));
    sim.interleave(true);
    let disk = sim.disk();
    let log = scheduler.block_on(async move { new_log(&disk).await }, || false).unwrap();
    let flusher = Rc::clone(&log);
    scheduler.spawn(async move { flusher.run().await.unwrap() });
    let durable = Rc::new(Cell::new(0));
    for n in 0..64 {
        let (log, durable) = (Rc::clone(&log), Rc::clone(&durable));
        scheduler.spawn(async move {
            let record = record(n + 1, 1, 100);
            let space = log.reserve(record.encoded_len()).await.unwrap();
            log.append(&record, space).durable().await.unwrap();
            durable.set(durable.get() + 1);
        });
    }
    scheduler.run(|| durable.get() == 64);
    assert_eq!(durable.get(), 64);
    let stats = log.stats();
    assert_eq!(stats.records, 64);
    assert!(stats.groups < 40, "{} groups for 64 records", stats.groups);
    log.close();
    assert!(!scheduler.run(|| false), "the flusher ends");
}

#[test]
fn power_loss_in_a_group_keeps_whole_records_only() {
    for seed in 0..200 {
        block_on(async {
            let sim = SimDisk::new(seed);
            let log = new_log(&sim.disk()).await;
            append(&log, &record(1, 1, 9000)).await.unwrap();
            let group: Vec<_> = (2..6).map(|n| record(n, 1, 3000 + n as usize)).collect();
            for r in &group {
                let space = log.reserve(r.encoded_len()).await.unwrap();
                let _ = log.append(r, space);
            }
            sim.crash_after(1);
            assert!(log.turn().await.is_err());
            sim.lose_power();
            let (found, _) = read(&sim.restart().disk()).await.unwrap();
            assert_eq!(found[0], record(1, 1, 9000), "seed {seed}");
            assert_eq!(found[1..], group[..found.len() - 1], "seed {seed}");
        });
    }
}

#[test]
fn damage_below_a_synced_mark_names_the_place_and_a_torn_tail_does_not() {
    block_on(async {
        let sim = SimDisk::new(3);
        let log = new_log(&sim.disk()).await;
        for n in 1..=3 {
            append(&log, &record(n, 1, 100)).await.unwrap();
        }
        let path = segment_path(Epoch(1), CoreId(0), 0);
        // The last block: nothing stands behind it that knows it synced.
        sim.damage(&path, 2 * BLOCK_BYTES as u64 + 60, &[0xff]);
        let disk = sim.disk();
        assert_eq!(read(&disk).await.unwrap().0.len(), 2);
        // The one before: block 2 is invalid too, so block 1 is the end. A new block behind them knows both.
        let sim = SimDisk::new(3);
        let log = new_log(&sim.disk()).await;
        for n in 1..=4 {
            append(&log, &record(n, 1, 100)).await.unwrap();
        }
        sim.damage(&path, BLOCK_BYTES as u64 + 60, &[0xff]);
        let error = read(&sim.disk()).await.unwrap_err();
        let StorageError::Corrupt { file, offset, expected, .. } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *offset), (path.as_str(), BLOCK_BYTES as u64));
        assert!(expected.starts_with("checksum"), "{error}");
    });
}

#[test]
fn damage_of_the_very_first_block_is_seen() {
    block_on(async {
        let sim = SimDisk::new(4);
        let log = new_log(&sim.disk()).await;
        append(&log, &record(1, 1, 100)).await.unwrap();
        append(&log, &record(2, 1, 100)).await.unwrap();
        sim.damage(&segment_path(Epoch(1), CoreId(0), 0), 0, &[0xff]);
        assert_eq!(read(&sim.disk()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    });
}

#[test]
fn a_swapped_or_missing_segment_is_damage() {
    block_on(async {
        for swap in [true, false] {
            let sim = SimDisk::new(5);
            let disk = sim.disk();
            let log = new_log(&disk).await;
            for n in 1..=60 {
                append(&log, &record(n, 1, 3000)).await.unwrap();
            }
            let path = |n| segment_path(Epoch(1), CoreId(0), n);
            if swap {
                disk.rename(&path(1), "log/x").await.unwrap();
                disk.rename(&path(2), &path(1)).await.unwrap();
                disk.rename("log/x", &path(2)).await.unwrap();
            } else {
                disk.remove(&path(1)).await.unwrap();
            }
            assert_eq!(read(&disk).await.unwrap_err().kind(), ErrorKind::Corrupt, "swap {swap}");
        }
    });
}

#[test]
fn segments_are_recycled_oldest_first_and_their_old_bytes_are_never_read() {
    block_on(async {
        let sim = SimDisk::new(6);
        let log = new_log(&sim.disk()).await;
        for n in 1..=100 {
            append(&log, &record(n, n % 2, 3000)).await.unwrap();
        }
        let before = log.stats().segments;
        // Tablet 1 is not past anything.
        assert_eq!(
            log.recycle(&|t| if t == TabletId(0) { Some(Seq(100)) } else { Some(Seq(0)) }, Seq(100)).await.unwrap(),
            0
        );
        // No mark stands outside (drop-unmarked), then there is one.
        assert_eq!(log.recycle(&|_| None, Seq(0)).await.unwrap(), 0);
        assert_eq!(log.oldest_holders().len(), 2);
        let gone = log.recycle(&|_| Some(Seq(50)), Seq(100)).await.unwrap();
        assert!(gone > 0 && log.stats().segments == before - gone as u64);
        for n in 101..=150 {
            append(&log, &record(n, 1, 3000)).await.unwrap();
        }
        sim.lose_power();
        let (found, _) = read(&sim.restart().disk()).await.unwrap();
        let seqs: Vec<u64> = found.iter().map(|r| r.seq.0).collect();
        assert_eq!(seqs, (seqs[0]..=150).collect::<Vec<_>>());
        assert!(seqs[0] <= 51 && seqs[0] > 1, "begins with {}", seqs[0]);
    });
}

#[test]
fn a_full_disk_fails_the_reservation_and_not_the_log() {
    let sim = SimDisk::new(7);
    let scheduler = Scheduler::new(Random::new(7));
    let disk = sim.disk();
    let log = scheduler.block_on(async move { new_log(&disk).await }, || false).unwrap();
    sim.fail(Fault::FullAt(SEGMENT + 4 * BLOCK_BYTES as u64));
    let (flusher, writer) = (Rc::clone(&log), Rc::clone(&log));
    scheduler.spawn(async move { flusher.run().await.unwrap() });
    let sim_again = sim.clone();
    let written = scheduler.block_on(
        async move {
            let mut written = 0;
            loop {
                let record = record(written + 1, 1, 3000);
                match writer.reserve(record.encoded_len()).await {
                    Ok(space) => writer.append(&record, space).durable().await.unwrap(),
                    Err(e) => {
                        assert!(matches!(e, StorageError::DiskFull { .. }), "{e}");
                        break;
                    }
                }
                written += 1;
            }
            sim_again.mend();
            let record = record(written + 1, 1, 3000);
            let space = writer.reserve(record.encoded_len()).await.unwrap();
            writer.append(&record, space).durable().await.unwrap();
            written
        },
        || false,
    );
    assert!(written.unwrap() >= 14);
}

#[test]
fn a_failed_sync_breaks_the_log_for_good() {
    block_on(async {
        let sim = SimDisk::new(8);
        let log = new_log(&sim.disk()).await;
        sim.fail(Fault::SyncError(0));
        assert_eq!(append(&log, &record(1, 1, 10)).await.unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(append(&log, &record(2, 1, 10)).await.unwrap_err().kind(), ErrorKind::Io);
    });
}

fn any_scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(Scalar::Int),
        any::<i128>().prop_map(Scalar::Wide),
        (-1e300..1e300f64).prop_map(Scalar::Float),
        ".{0,8}".prop_map(Scalar::Text)
    ]
}

fn any_predicate() -> impl Strategy<Value = Predicate> {
    let op = prop_oneof![
        Just(CompareOp::Eq),
        Just(CompareOp::Ne),
        Just(CompareOp::Lt),
        Just(CompareOp::Le),
        Just(CompareOp::Gt),
        Just(CompareOp::Ge)
    ];
    prop_oneof![
        (any::<u32>(), op, any_scalar()).prop_map(|(column, op, value)| Predicate::Compare { column, op, value }),
        (any::<u32>(), prop::collection::vec(any_scalar(), 0..4))
            .prop_map(|(column, values)| Predicate::In { column, values }),
        (any::<u32>(), prop::collection::vec(any_scalar(), 0..4))
            .prop_map(|(column, values)| Predicate::NotIn { column, values }),
        (any::<u32>(), ".{0,6}").prop_map(|(column, prefix)| Predicate::Prefix { column, prefix }),
        any::<u32>().prop_map(|column| Predicate::IsNull { column }),
        any::<u32>().prop_map(|column| Predicate::IsNotNull { column }),
    ]
}

fn any_body() -> impl Strategy<Value = PartBody> {
    let file = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
        |(t, number, rows, bytes, deletes)| StagedFile {
            file: FileId { tablet: TabletId(t), number },
            rows,
            bytes,
            deletes,
        },
    );
    let bytes = || prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
    prop_oneof![
        bytes().prop_map(PartBody::Rows),
        bytes().prop_map(PartBody::Ddl),
        prop::collection::vec(file, 0..4).prop_map(PartBody::Files),
        prop::collection::vec(any_predicate(), 0..4).prop_map(PartBody::DeleteWhere),
    ]
}

fn any_record() -> impl Strategy<Value = CommitRecord> {
    let part = (any::<u64>(), any::<u32>(), any_body()).prop_map(|(t, schema_version, body)| TabletPart {
        tablet: TabletId(t),
        schema_version,
        body,
    });
    (any::<u64>(), any::<u64>(), prop::collection::vec(part, 0..4)).prop_map(|(s, t, parts)| CommitRecord {
        seq: Seq(s),
        txn: TxnId(t),
        parts,
    })
}

proptest! {
    #[test]
    fn records_round_trip(record in any_record()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), record.encoded_len());
        prop_assert_eq!(CommitRecord::decode(Bytes::from(bytes)).unwrap(), record);
    }

    #[test]
    fn no_bytes_panic_the_record_decoder(record in any_record(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = CommitRecord::decode(Bytes::from(bytes.clone()));
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = CommitRecord::decode(Bytes::from(bytes));
    }
}

/// Measures the real device: `cargo test --release -p starling-storage device_commit -- --ignored --nocapture`.
#[test]
#[ignore = "measures the machine"]
fn device_commit_latency_and_rate() {
    use crate::disk::GlommioDisk;
    let dir =
        std::env::var("STARLING_BENCH_DIR").map(std::path::PathBuf::from).unwrap_or_else(|_| std::env::temp_dir());
    let dir = dir.join(format!("starling-log-{}", std::process::id()));
    let path = dir.clone();
    glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(0))
        .spawn(move || async move {
            let disk: DiskRef = Rc::new(GlommioDisk::open(&path).await.unwrap());
            disk.create_dir("log").await.unwrap();
            let log = Log::create(Rc::clone(&disk), Epoch(1), CoreId(0), LogOptions::default(), Rc::new(|| Seq(0)))
                .await
                .unwrap();
            let flusher = Rc::clone(&log);
            glommio::spawn_local(async move { flusher.run().await.unwrap() }).detach();
            let mut micros = Vec::new();
            for n in 1..=3000 {
                let start = std::time::Instant::now();
                let record = record(n, 1, 200);
                let space = log.reserve(record.encoded_len()).await.unwrap();
                log.append(&record, space).durable().await.unwrap();
                micros.push(start.elapsed().as_micros() as u64);
            }
            micros.sort_unstable();
            println!("one at a time: p50 {} us, p99 {} us, max {} us", micros[1500], micros[2970], micros[2999]);
            let (start, tasks) = (std::time::Instant::now(), 64);
            let handles: Vec<_> = (0..tasks)
                .map(|t| {
                    let log = Rc::clone(&log);
                    glommio::spawn_local(async move {
                        for n in 0..2000 {
                            let record = record(10_000 + t * 2000 + n, 1, 200);
                            let space = log.reserve(record.encoded_len()).await.unwrap();
                            log.append(&record, space).durable().await.unwrap();
                        }
                    })
                    .detach()
                })
                .collect();
            for handle in handles {
                handle.await;
            }
            let groups = log.stats().groups - 3000;
            let rate = tasks as f64 * 2000.0 / start.elapsed().as_secs_f64();
            println!("64 at once: {rate:.0} appends/s, {:.1} a group", tasks as f64 * 2000.0 / groups as f64);
            log.close();
        })
        .unwrap()
        .join()
        .unwrap();
    let _ = std::fs::remove_dir_all(dir);
}
