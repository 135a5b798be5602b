//! Single scenarios.

use super::*;
use crate::log::PartBody;
use futures_lite::future::block_on;
use std::collections::BTreeMap;

fn row(v: i32) -> Option<Row> {
    Some((Some(v), Some(format!("text {v}"))))
}

async fn commit(tablet: &Tablet, seq: u64, shape: Shape, rows: &[(u32, Option<Row>)]) -> Applied {
    let staged = tablet.stage(shape.rows(rows)).await.unwrap();
    let part = tablet.part(&staged);
    tablet.apply(Seq(seq), &part, Some(staged)).await.unwrap()
}

#[test]
fn upserts_deletes_and_what_they_count() {
    block_on(async {
        for shape in [Shape::BigInt, Shape::Varchar, Shape::Collisions, Shape::Packed] {
            let sim = SimDisk::new(1);
            let tablet = new_tablet(shape, &sim, TabletLimits::default()).await;
            let applied = commit(&tablet, 1, shape, &[(1, row(1)), (2, row(2)), (1, row(3))]).await;
            assert_eq!(applied, Applied { upserted: 2, replaced: 0, deleted: 0 });
            let applied = commit(&tablet, 2, shape, &[(2, row(5)), (1, None), (9, None)]).await;
            assert_eq!(applied, Applied { upserted: 1, replaced: 1, deleted: 1 });
            assert_eq!(all(&tablet, Seq(1)).await, sorted(shape, &[(1, row(3)), (2, row(2))]));
            assert_eq!(all(&tablet, Seq(2)).await, sorted(shape, &[(2, row(5))]));
            let (batch, found) = tablet.get(Seq(1), &shape.keys(&[2, 9, 1]), &[shape.value_column()]).await.unwrap();
            assert_eq!((texts(&batch), found), (vec!["2".to_string(), "3".to_string()], vec![0, 2]));
            let (batch, found) = tablet.get(Seq(2), &shape.keys(&[2, 9, 1]), &[]).await.unwrap();
            assert_eq!((batch.num_columns(), found), (0, vec![0]));
        }
    });
}

fn sorted(shape: Shape, rows: &[(u32, Option<Row>)]) -> Vec<String> {
    let mut rows = texts(&shape.batch(rows));
    rows.sort();
    rows
}

#[test]
fn a_staged_key_that_was_written_meanwhile_is_found_again_after_a_flush() {
    block_on(async {
        for shape in [Shape::BigInt, Shape::Varchar, Shape::Collisions] {
            let (sim, edits) = (SimDisk::new(1), Edits::default());
            let tablet = new_tablet(shape, &sim, small_limits()).await;
            commit(&tablet, 1, shape, &[(1, row(1)), (2, row(1)), (3, row(1))]).await;
            // Staged at p = 1; overtaken by an upsert, a delete and an insert, which are then flushed [redo-memory-only].
            let late = [(1, row(9)), (2, row(9)), (3, None), (4, row(9))];
            let staged = tablet.stage(shape.rows(&late)).await.unwrap();
            commit(&tablet, 2, shape, &[(1, row(2)), (2, None), (4, row(2))]).await;
            assert!(flush(&tablet, Seq(2), &edits).await.done);
            let part = tablet.part(&staged);
            tablet.apply(Seq(3), &part, Some(staged)).await.unwrap();
            let want = [(1, row(9)), (2, row(9)), (4, row(9))];
            assert_eq!(all(&tablet, Seq(3)).await, sorted(shape, &want));
            assert_eq!(tablet.stats().index_keys, 3);
            assert!(tablet.state.borrow().recent.bytes() == 0, "nothing is staged any more");
        }
    });
}

#[test]
fn a_million_commits_would_be_few_rowsets() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::BigInt);
        let limits = TabletLimits { memtable_rows: 2_000, ..TabletLimits::default() };
        let tablet = new_tablet(shape, &sim, limits).await;
        for seq in 1..=10_000 {
            commit(&tablet, seq, shape, &[(seq as u32 % 3_000, row(seq as i32))]).await;
            let context =
                RewriteContext { now_micros: 0, watermark: Seq(seq), flush_now: false, flush_through: Seq::ZERO };
            if let Some(kind) = tablet.rewrite_due(&context) {
                let append = async |edit| {
                    edits.apply(edit);
                    Ok(())
                };
                tablet.rewrite_through(kind, Seq(seq), append).await.unwrap();
                let gone = tablet.reclaim(Seq(seq));
                tablet.unlink(&gone).await.unwrap();
            }
        }
        let stats = tablet.stats();
        assert!(stats.files + stats.memtables <= 6 && stats.retired == 0, "{stats:?}");
        assert_eq!(stats.live_rows, 3_000);
        assert!(sim.files().len() <= 6);
        assert!(tablet.state.borrow().slots.taken() <= 8);
    });
}

#[test]
fn an_open_scan_keeps_its_files_and_reads_on() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::BigInt);
        let tablet = new_tablet(shape, &sim, small_limits()).await;
        let many: Vec<_> = (0..20).map(|id| (id, row(id as i32))).collect();
        commit(&tablet, 1, shape, &many).await;
        flush(&tablet, Seq(1), &edits).await;
        let file = edits.state.borrow().files[0].file;
        commit(&tablet, 2, shape, &many[..15]).await;
        flush(&tablet, Seq(2), &edits).await;
        let columns = vec![0];
        let mut scan = tablet.snapshot(Seq(2)).scan(ScanSpec { columns, batch_rows: 8, ..ScanSpec::default() });
        let append = async |edit| {
            edits.apply(edit);
            Ok(())
        };
        tablet.rewrite_through(Rewrite::Compact(vec![file]), Seq(2), append).await.unwrap();
        // No pin asks for the input, but a fragment has it open [unlink-open].
        assert_eq!(tablet.reclaim(Seq(2)), vec![]);
        let mut rows = 0;
        while let Some(batch) = scan.next().await.unwrap() {
            assert!(batch.num_rows() <= 8);
            rows += batch.num_rows();
        }
        assert_eq!(rows, 20);
        drop(scan);
        assert_eq!(tablet.reclaim(Seq(2)), vec![file]);
        assert_eq!(all(&tablet, Seq(2)).await.len(), 20);
    });
}

/// Deaths above F cannot be compacted away: a file whose rows all died of a commit in memory waits for the flush of that commit, and is not
/// written again and again until then.
#[test]
fn a_file_that_only_memory_has_killed_is_not_compacted() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::BigInt);
        let tablet = new_tablet(shape, &sim, TabletLimits::default()).await;
        let many: Vec<_> = (0..100).map(|id| (id, row(id as i32))).collect();
        commit(&tablet, 1, shape, &many).await;
        flush(&tablet, Seq(1), &edits).await;
        commit(&tablet, 2, shape, &many).await;
        let context =
            |w| RewriteContext { now_micros: 0, watermark: Seq(w), flush_now: false, flush_through: Seq::ZERO };
        assert_eq!(tablet.rewrite_due(&context(2)), None);
        let file = edits.state.borrow().files[0].file;
        flush(&tablet, Seq(2), &edits).await;
        assert_eq!(tablet.rewrite_due(&context(2)), Some(Rewrite::Compact(vec![file])));
    });
}

#[test]
fn limits_predicates_and_pruning() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::BigInt);
        let tablet = new_tablet(shape, &sim, TabletLimits::default()).await;
        let many: Vec<_> = (0..20_000).map(|id| (id, row(id as i32 % 100))).collect();
        commit(&tablet, 1, shape, &many).await;
        let of = |column: usize, op, value| Predicate::Compare { column: column as u32, op, value };
        for flushed in [false, true] {
            if flushed {
                assert_eq!(flush(&tablet, Seq(1), &edits).await.rows_out, 20_000);
            }
            let spec = ScanSpec { columns: vec![1], limit: Some(5_000), ..ScanSpec::default() };
            let mut scan = tablet.snapshot(Seq(1)).scan(spec);
            let mut rows = 0;
            while let Some(batch) = scan.next().await.unwrap() {
                rows += batch.num_rows();
            }
            assert_eq!(rows, 5_000);
            let key = (17_000i64 - 40) * 1_000_003;
            let predicates = vec![
                of(0, crate::schema::CompareOp::Ge, crate::schema::Scalar::Int(key)),
                of(1, crate::schema::CompareOp::Eq, crate::schema::Scalar::Int(7)),
            ];
            let spec = ScanSpec { columns: vec![2, 0], predicates, ..ScanSpec::default() };
            let mut scan = tablet.snapshot(Seq(1)).scan(spec);
            let batch = scan.next().await.unwrap().unwrap();
            assert_eq!(batch.num_rows(), 30);
            assert_eq!(texts(&batch)[0].split('|').next(), Some("text 7"));
            assert!(scan.next().await.unwrap().is_none());
            if flushed {
                assert!(scan.counters().vectors_pruned >= 16, "{:?}", scan.counters());
            }
        }
        let mut scan = tablet.snapshot(Seq(1)).scan(ScanSpec { columns: vec![9], ..ScanSpec::default() });
        assert!(scan.next().await.is_err(), "an unknown column");
    });
}

#[test]
fn bad_rows_are_refused_before_the_number() {
    block_on(async {
        let sim = SimDisk::new(1);
        let tablet = new_tablet(Shape::BigInt, &sim, TabletLimits::default()).await;
        assert!(tablet.stage(Shape::Composite.rows(&[(1, row(1))])).await.is_err(), "another shape");
        assert!(tablet.stage(Shape::Varchar.rows(&[(1, row(1))])).await.is_err(), "another key type");
        let mut columns = Shape::BigInt.batch(&[(1, row(1))]).columns().to_vec();
        columns[0] = Arc::new(Int64Array::from(vec![None]));
        let batch = RecordBatch::try_new(crate::rows::relaxed(&Shape::BigInt.schema()), columns).unwrap();
        assert!(tablet.stage(Rows::upserts(batch)).await.is_err(), "NULL in the key");
        assert!(
            tablet.stage_delete(vec![Predicate::IsNull { column: 1 }]).is_err(),
            "delete by condition needs duplicates"
        );
        let tablet = new_tablet(Shape::Duplicate, &sim, TabletLimits::default()).await;
        assert!(tablet.stage(Shape::Duplicate.rows(&[(1, None)])).await.is_err(), "a row delete needs a key");
        assert_eq!(tablet.stats().staged, 0);
    });
}

#[test]
fn a_full_device_fails_the_stage_and_the_flush_and_leaves_nothing_behind() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::BigInt);
        let tablet = new_tablet(shape, &sim, small_limits()).await;
        commit(&tablet, 1, shape, &(0..20).map(|id| (id, row(1))).collect::<Vec<_>>()).await;
        sim.fail(crate::disk::Fault::FullAt(0));
        let many: Vec<_> = (0..60).map(|id| (id, row(2))).collect();
        let error = tablet.stage(shape.rows(&many)).await.err().unwrap();
        assert_eq!(error.kind(), crate::error::ErrorKind::ResourceExhausted);
        let append = async |edit| {
            edits.apply(edit);
            Ok(())
        };
        assert!(tablet.rewrite_through(Rewrite::Flush, Seq(1), append).await.is_err());
        assert_eq!((sim.files(), tablet.flushed()), (Vec::<String>::new(), Seq::ZERO));
        sim.mend();
        assert!(flush(&tablet, Seq(1), &edits).await.done, "the next try succeeds");
        assert_eq!(all(&tablet, Seq(1)).await.len(), 20);
    });
}

#[test]
fn a_table_without_key_and_sort_columns_keeps_all_rows() {
    block_on(async {
        let (sim, edits) = (SimDisk::new(1), Edits::default());
        sim.disk().create_dir("seg").await.unwrap();
        let mut schema = (*Shape::Duplicate.schema()).clone();
        (schema.key_columns, schema.sort_columns) = (0, Vec::new());
        let tablet = Tablet::create(TabletId(7), Arc::new(schema), environment(&sim, small_limits()));
        for seq in 1..=3 {
            let rows: Vec<_> = (0..30).map(|id| (id, row(seq))).collect();
            commit(&tablet, seq as u64, Shape::Duplicate, &rows).await;
        }
        let before = all(&tablet, Seq(3)).await;
        assert_eq!((before.len(), flush(&tablet, Seq(3), &edits).await.rows_out), (90, 0));
        assert_eq!(all(&tablet, Seq(3)).await, before);
    });
}

/// R11: once what only older snapshots need was reclaimed, reading one of them is an error, never other rows.
#[test]
fn a_snapshot_that_is_reclaimed_for_is_an_error_and_not_wrong() {
    block_on(async {
        for shape in [Shape::BigInt, Shape::Varchar] {
            let (sim, edits) = (SimDisk::new(1), Edits::default());
            let tablet = new_tablet(shape, &sim, small_limits()).await;
            let many: Vec<_> = (0..20).map(|id| (id, row(id as i32))).collect();
            commit(&tablet, 1, shape, &many).await;
            flush(&tablet, Seq(1), &edits).await;
            let columns = (0..tablet.schema().columns.len()).collect();
            let spec = ScanSpec { columns, batch_rows: 4, ..ScanSpec::default() };
            // One that has begun to read, one that has not, and one that is as old as what is kept.
            let mut begun = tablet.snapshot(Seq(1)).scan(spec.clone());
            assert!(begun.next().await.unwrap().is_some());
            let mut waiting = tablet.snapshot(Seq(1)).scan(spec.clone());
            commit(&tablet, 2, shape, &[(3, row(30)), (4, None)]).await;
            flush(&tablet, Seq(2), &edits).await;
            tablet.reclaim(Seq(2));
            for scan in [&mut begun, &mut waiting, &mut tablet.snapshot(Seq(1)).scan(spec.clone())] {
                let error = scan.next().await.unwrap_err();
                assert!(matches!(error, StorageError::SnapshotTooOld { at: Seq(1), oldest: Seq(2) }), "{error}");
            }
            let error = tablet.get(Seq(1), &shape.keys(&[3]), &[]).await.unwrap_err();
            assert!(matches!(error, StorageError::SnapshotTooOld { .. }), "{error}");
            assert_eq!(all(&tablet, Seq(2)).await.len(), 19);
        }
    });
}

/// R2: a manifest that finds the disk full leaves everything as it was, the files too: every attempt would leave some behind.
#[test]
fn a_rewrite_whose_edit_finds_the_disk_full_leaves_no_file() {
    block_on(async {
        let (sim, edits, shape) = (SimDisk::new(1), Edits::default(), Shape::Varchar);
        let tablet = new_tablet(shape, &sim, small_limits()).await;
        let many: Vec<_> = (0..20).map(|id| (id, row(id as i32))).collect();
        commit(&tablet, 1, shape, &many).await;
        let before = sim.files();
        let full = async |_| Err(StorageError::DiskFull { file: "manifest".into() });
        assert!(tablet.rewrite_through(Rewrite::Flush, Seq(1), full).await.is_err());
        assert_eq!(sim.files(), before);
        assert_eq!(all(&tablet, Seq(1)).await.len(), 20);
        assert!(flush(&tablet, Seq(1), &edits).await.done);
        assert_eq!(all(&tablet, Seq(1)).await.len(), 20);
    });
}

/// Rows that come in many batches are as good as one: small ones in pieces, many of them as files; later ones win.
#[test]
fn many_batches_are_staged_as_one() {
    block_on(async {
        for shape in [Shape::BigInt, Shape::Varchar, Shape::Collisions, Shape::Duplicate] {
            for (ids, files) in [(4u32, false), (6000, false), (9000, true)] {
                let sim = SimDisk::new(1);
                let limits = TabletLimits { staged_rows: 20_000, ..TabletLimits::default() };
                let tablet = new_tablet(shape, &sim, limits).await;
                let batches: Vec<Vec<(u32, Option<Row>)>> = (0..3)
                    .map(|batch| (batch * 10..batch * 10 + ids).map(|id| (id, row((id + batch) as i32))).collect())
                    .chain((shape != Shape::Duplicate).then(|| vec![(1, None), (2, row(7))]))
                    .collect();
                let rows = batches.iter().map(|rows| shape.rows(rows)).collect();
                let staged = tablet.stage_all(rows).await.unwrap();
                assert_eq!(matches!(staged[0].part().body, PartBody::Files(_)), files, "{ids} rows");
                for staged in staged {
                    let part = tablet.part(&staged);
                    tablet.apply(Seq(1), &part, Some(staged)).await.unwrap();
                }
                let mut last: BTreeMap<u32, Option<Row>> = BTreeMap::new();
                batches.iter().flatten().for_each(|(id, row)| drop(last.insert(*id, row.clone())));
                let want: Vec<_> = match shape {
                    Shape::Duplicate => batches.concat(),
                    _ => last.into_iter().filter(|(_, row)| row.is_some()).collect(),
                };
                assert_eq!(all(&tablet, Seq(1)).await, sorted(shape, &want), "{ids} rows");
            }
        }
    });
}
