//! Commit and read across cores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use starling_engine::catalog::CatalogOp;
use starling_storage::ids::{CoreId, Seq};
use starling_storage::schema::{CompareOp, Predicate, Scalar, TableKind};
use starling_storage::tablet::ScanSpec;

use super::support::*;

#[test]
fn rows_are_there_on_every_core_when_the_answer_comes() {
    let node = start(&fresh("visible"), 3);
    create_database(&node);
    let table = create_table(&node, "t", 7);
    assert!(owners(&node, table).iter().all(|&n| n > 0), "the buckets spread over the cores");
    let mut expected = BTreeMap::new();
    for round in 0..6i64 {
        let pairs: Vec<(i64, i64)> = (0..500).map(|k| (k * 3 + round, round)).collect();
        expected.extend(pairs.iter().copied());
        let committed = load(&node, (round % 3) as u16, table, pairs, None).unwrap();
        assert!(committed.visible && committed.upserted == 500, "{committed:?}");
        // P3: a pin taken after the answer, on any core, sees it; and W is not behind.
        for core in 0..3 {
            let seq = node.run_on(CoreId(core), |core| async move { core.pin().seq() }).unwrap();
            assert!(seq >= committed.seq);
        }
        assert_eq!(read(&node, table).1, expected);
    }
    assert_eq!(node.stop().errors, Vec::<String>::new());
}

#[test]
fn later_rows_and_deletes_win_within_and_across_loads() {
    let node = start(&fresh("deletes"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    load(&node, 0, table, vec![(1, 1), (2, 1), (1, 2)], None).unwrap();
    assert_eq!(read(&node, table).1, BTreeMap::from([(1, 2), (2, 1)]));
    let committed = node
        .run_on(CoreId(1), move |core| async move {
            let mut load = open(&core, table, None).await?;
            load.push(rows(&[(3, 3)])).await?;
            load.push(deletes(&[1, 3, 99])).await?;
            load.push(rows(&[(2, 7)])).await?;
            load.commit(None).await
        })
        .unwrap()
        .unwrap();
    assert_eq!(committed.deleted, 1, "only key 1 was there: {committed:?}");
    assert_eq!(read(&node, table).1, BTreeMap::from([(2, 7)]));
    node.stop();
}

#[test]
fn a_dropped_load_leaves_nothing_and_holds_nothing() {
    let node = start(&fresh("abort"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    node.run_on(CoreId(0), move |core| async move {
        let mut load = open(&core, table, Some("aborted")).await.unwrap();
        load.push(rows(&(0..40_000).map(|k| (k, k)).collect::<Vec<_>>())).await.unwrap();
        drop(load);
        let mut load = open(&core, table, None).await.unwrap();
        load.push(rows(&[(1, 1)])).await.unwrap();
        load.abort().await;
    })
    .unwrap();
    load(&node, 1, table, vec![(5, 5)], Some("aborted")).unwrap();
    assert_eq!(read(&node, table).1, BTreeMap::from([(5, 5)]));
    let staged: Vec<u64> = node
        .run_on(CoreId(0), |core| async move {
            let reports = starling_engine::metrics::reports(&core).await.unwrap();
            reports.iter().map(|r| r.staged).collect()
        })
        .unwrap();
    assert_eq!(staged, vec![0, 0]);
    node.stop();
}

/// R4: whatever the interleaving, the tables hold what the sequence order says, on all cores.
#[test]
fn concurrent_loads_to_the_same_keys_end_as_the_numbers_say() {
    let node = Arc::new(start(&fresh("order"), 3));
    create_database(&node);
    let table = create_table(&node, "t", 5);
    let writers: Vec<_> = (0..6u16)
        .map(|writer| {
            let node = node.clone();
            std::thread::spawn(move || -> Vec<(Seq, Vec<(i64, i64)>)> {
                let one = |round: i64| {
                    let pairs: Vec<(i64, i64)> =
                        (0..20).map(|i| ((i * 7 + round) % 40, i64::from(writer) * 1000 + round)).collect();
                    let committed = load(&node, writer % 3, table, pairs.clone(), None).unwrap();
                    (committed.seq, pairs)
                };
                (0..40).map(one).collect()
            })
        })
        .collect();
    let mut history: Vec<(Seq, Vec<(i64, i64)>)> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    history.sort_by_key(|(seq, _)| *seq);
    assert!(history.windows(2).all(|w| w[0].0 < w[1].0), "a number twice");
    let expected: BTreeMap<i64, i64> = history.into_iter().flat_map(|(_, pairs)| pairs).collect();
    assert_eq!(read(&node, table).1, expected);
    Arc::into_inner(node).unwrap().stop();
}

/// P3: a transaction over all buckets is never seen in part.
#[test]
fn no_snapshot_is_torn() {
    let node = Arc::new(start(&fresh("torn"), 2));
    create_database(&node);
    let table = create_table(&node, "t", 8);
    load(&node, 0, table, (0..64).map(|k| (k, 0)).collect(), None).unwrap();
    let writer = {
        let node = node.clone();
        std::thread::spawn(move || {
            for round in 1..60 {
                load(&node, (round % 2) as u16, table, (0..64).map(|k| (k, round)).collect(), None).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let (seq, rows) = read(&node, table);
        let first = rows[&0];
        assert!(rows.len() == 64 && rows.values().all(|v| *v == first), "torn at {seq}: {rows:?}");
    }
    writer.join().unwrap();
    Arc::into_inner(node).unwrap().stop();
}

#[test]
fn a_big_load_goes_to_files_and_counts() {
    let node = start(&fresh("big"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 2);
    let pairs: Vec<(i64, i64)> = (0..600_000).map(|k| (k, k * 2)).collect();
    let committed = load(&node, 0, table, pairs.clone(), None).unwrap();
    assert_eq!(committed.upserted, 600_000);
    assert_eq!(read(&node, table).1, pairs.iter().copied().collect());
    // And over it, a small one.
    load(&node, 1, table, vec![(7, -1), (600_001, 1)], None).unwrap();
    let (_, rows) = read(&node, table);
    assert_eq!((rows.len(), rows[&7], rows[&8]), (600_001, -1, 16));
    node.stop();
}

#[test]
fn duplicate_tables_keep_all_rows_and_delete_by_condition() {
    let node = start(&fresh("duplicate"), 2);
    create_database(&node);
    let table = create_table_of(&node, "t", 3, TableKind::Duplicate);
    load(&node, 0, table, vec![(1, 1), (1, 2), (2, 3)], None).unwrap();
    load(&node, 1, table, vec![(1, 1), (5, 9)], None).unwrap();
    assert_eq!(read_all(&node, table).1, vec![(1, 1), (1, 1), (1, 2), (2, 3), (5, 9)]);
    node.run_on(CoreId(0), move |core| async move {
        let mut load = open(&core, table, None).await.unwrap();
        load.delete_where(&[Predicate::Compare { column: 1, op: CompareOp::Lt, value: Scalar::Int(3) }]);
        load.commit(None).await.unwrap();
    })
    .unwrap();
    load(&node, 0, table, vec![(1, 1)], None).unwrap();
    assert_eq!(read_all(&node, table).1, vec![(1, 1), (2, 3), (5, 9)]);
    node.stop();
}

#[test]
fn truncate_and_drop_are_numbers_like_any_other() {
    let node = start(&fresh("ddl"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    load(&node, 0, table, vec![(1, 1)], None).unwrap();
    let truncate = || CatalogOp::TruncateTable { db: "d".into(), name: "t".into() };
    // A load that began before is told, or its rows are there: never swallowed.
    let late = node.run_on(CoreId(1), move |core| async move {
        let mut load = open(&core, table, None).await.unwrap();
        load.push(rows(&[(2, 2)])).await.unwrap();
        core.ddl(truncate()).await.unwrap();
        load.commit(None).await
    });
    assert_eq!(late.unwrap().unwrap_err().code, 5502);
    assert_eq!(read(&node, table).1, BTreeMap::new());
    load(&node, 0, table, vec![(3, 3)], None).unwrap();
    assert_eq!(read(&node, table).1, BTreeMap::from([(3, 3)]));
    let gone = node.run_on(CoreId(1), move |core| async move {
        core.ddl(CatalogOp::DropTable { db: "d".into(), name: "t".into(), if_exists: false }).await.unwrap();
        (core.catalog().table("d", "t").is_err(), open(&core, table, None).await.err().map(|e| e.code))
    });
    assert_eq!(gone.unwrap(), (true, Some(5502)));
    node.stop();
}

/// R11: a snapshot that was kept too long is taken away; who reads it gets an error that says so, also on other cores.
#[test]
fn a_snapshot_that_is_too_old_fails_and_holds_nothing() {
    let node = start(&fresh("too-old"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    let pairs: Vec<(i64, i64)> = (0..20_000).map(|k| (k, 0)).collect();
    load(&node, 0, table, pairs.clone(), None).unwrap();
    // A pin on core 0, and a scan at it on core 1 that has read some rows.
    let (seq, release) = hold_pin(&node);
    let second = pairs.iter().map(|(k, _)| (*k, 1)).collect();
    load(&node, 1, table, second, None).unwrap();
    let kept = |node: &starling_engine::runtime::Node| -> u64 {
        node.run_on(CoreId(0), |core| async move {
            starling_engine::metrics::reports(&core).await.unwrap().iter().map(|r| r.pin_age).sum()
        })
        .unwrap()
    };
    assert!(kept(&node) > 0, "the pin keeps the commits after it");
    let error = node
        .run_on(CoreId(1), move |core| async move {
            let catalog = core.catalog();
            let table = catalog.table_by_id(table).unwrap();
            let here = |bucket: &usize| table.owner(*bucket as u32, core.cores()) == core.id();
            let bucket = (0..table.tablets.len()).find(here).unwrap();
            let spec = ScanSpec { columns: vec![0, 1], batch_rows: 16, ..ScanSpec::default() };
            let mut scan = core.tablet(table.tablets[bucket]).unwrap().snapshot(seq).scan(spec);
            assert!(scan.next().await.unwrap().is_some());
            // Young enough: it goes on.
            core.expire_pins(Duration::from_secs(3600));
            assert!(scan.next().await.unwrap().is_some());
            core.expire_pins_everywhere(Duration::ZERO);
            let begun = std::time::Instant::now();
            loop {
                match scan.next().await {
                    Err(error) => break starling_engine::EngineError::from(error).message,
                    Ok(None) => break "the scan came to its end".to_string(),
                    Ok(Some(_)) => {
                        assert!(begun.elapsed() < Duration::from_secs(30), "nothing happens");
                        glommio::timer::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        })
        .unwrap();
    assert!(error.starts_with("Snapshot too old"), "{error}");
    assert_eq!(kept(&node), 0);
    drop(release);
    // New readers are not concerned.
    assert_eq!(read(&node, table).1.len(), 20_000);
    node.stop();
}

/// A load that goes away while an owner stages its rows leaves no file behind: the stage that runs on gives up what it has made.
#[test]
fn a_load_dropped_while_it_is_staged_leaves_no_file() {
    let data = fresh("abort-staging");
    let node = start(&data, 2);
    create_database(&node);
    let table = create_table(&node, "t", 1);
    for core in 0..2 {
        node.run_on(CoreId(core), move |core| async move {
            let mut load = open(&core, table, None).await.unwrap();
            // The last of these messages makes the owner write files; the load does not wait for its answer.
            load.push(rows(&(0..1_060_000).map(|k| (k, k)).collect::<Vec<_>>())).await.unwrap();
            drop(load);
        })
        .unwrap();
    }
    let files = || std::fs::read_dir(data.join("seg")).unwrap().count();
    let begun = std::time::Instant::now();
    // Written first, so that the test sees something go.
    while begun.elapsed() < Duration::from_secs(3) || files() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} files are left", files());
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop();
}
