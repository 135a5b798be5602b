//! Flush, compaction, reclaim, recycling: driven by what a node does by itself when memory and log fill.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use starling_engine::metrics::CoreReport;
use starling_engine::runtime::Node;
use starling_storage::ids::CoreId;

use super::support::*;

fn reports(node: &Node) -> Vec<CoreReport> {
    node.run_on(CoreId(0), |core| async move { starling_engine::metrics::reports(&core).await.unwrap() }).unwrap()
}

fn sum(node: &Node, value: impl Fn(&CoreReport) -> u64) -> u64 {
    reports(node).iter().map(value).sum()
}

fn wait_until(what: &str, node: &Node, done: impl Fn(&Node) -> bool) {
    let begun = Instant::now();
    while !done(node) {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} does not come: {:?}", reports(node));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Little memory: memtables fill, are flushed and compacted while loads go on; files and memory stay bounded; a kill loses nothing.
#[test]
fn memtables_are_flushed_and_compacted_while_loads_go_on() {
    let data = fresh("flush");
    let mut options = options(&data, 2);
    options.memory = 48 << 20;
    let node = Node::start(options.clone()).unwrap();
    create_database(&node);
    let table = create_table(&node, "t", 2);
    let mut expected = BTreeMap::new();
    // How much that takes depends on how fast the loads are: what is flushed beside them leaves memory for more.
    let rewritten = |n: &Node| sum(n, |r| r.counters.flushes) >= 4 && sum(n, |r| r.counters.compactions) >= 1;
    for round in (0..1_000i64).take_while(|&round| round < 60 || !rewritten(&node)) {
        let pairs: Vec<(i64, i64)> = (0..8_000).map(|i| ((i * 31 + round * 1009) % 120_000, round)).collect();
        expected.extend(pairs.iter().copied());
        load(&node, (round % 2) as u16, table, pairs, None).unwrap();
        assert!(sum(&node, |r| r.write_memory) <= 2 * sum(&node, |r| r.write_memory_max));
    }
    wait_until("a flush and a compaction", &node, rewritten);
    assert_eq!(sum(&node, |r| r.counters.rewrite_failures), 0);
    assert_eq!(read(&node, table).1, expected);
    node.abandon();
    options.cores = 3;
    let node = Node::start(options).unwrap();
    let table = table_id(&node, "t");
    assert_eq!(read(&node, table).1, expected);
    assert!(sum(&node, |r| r.tablets.files) > 0);
    node.stop();
}

/// Log segments are recycled once what they hold is in files, across cores.
#[test]
fn the_log_stays_bounded() {
    let data = fresh("log");
    let mut options = options(&data, 2);
    options.memory = 64 << 20;
    let node = Node::start(options).unwrap();
    create_database(&node);
    let table = create_table(&node, "t", 8);
    let quiet = create_table(&node, "quiet", 1);
    // Named in the first segment and never written again: it must not hold the log for ever.
    load(&node, 0, quiet, vec![(1, 1)], None).unwrap();
    for round in 0..80i64 {
        let pairs: Vec<(i64, i64)> = (0..200_000).map(|i| (i, round)).collect();
        load(&node, 0, table, pairs, None).unwrap();
    }
    let written = sum(&node, |r| r.log.bytes);
    assert!(written > 200 << 20, "{written} bytes are too few for this test");
    wait_until("recycling", &node, |n| sum(n, |r| r.log.recycled) > 0 && sum(n, |r| r.log.segments) <= 9);
    assert_eq!(read(&node, quiet).1, BTreeMap::from([(1, 1)]));
    node.stop();
}

/// One record longer than a log segment: it is there, also after a kill.
#[test]
fn a_record_longer_than_a_segment() {
    let data = fresh("long");
    let node = start(&data, 1);
    create_database(&node);
    let table = create_table(&node, "t", 64);
    load(&node, 0, table, (0..3_000_000).map(|k| (k, k)).collect(), None).unwrap();
    assert!(sum(&node, |r| r.log.bytes) > 40 << 20);
    node.abandon();
    let node = start(&data, 2);
    let table = table_id(&node, "t");
    let (_, rows) = read(&node, table);
    assert_eq!((rows.len(), rows[&2_999_999]), (3_000_000, 2_999_999));
    node.stop();
}

/// Dropped tables give their files back once no snapshot needs them.
#[test]
fn dropped_tables_leave_no_files() {
    let data = fresh("drop");
    let node = start(&data, 2);
    create_database(&node);
    let table = create_table(&node, "t", 2);
    load(&node, 0, table, (0..400_000).map(|k| (k, k)).collect(), None).unwrap();
    let files = || std::fs::read_dir(data.join("seg")).unwrap().count();
    assert!(files() > 0);
    node.run_on(CoreId(1), |core| async move {
        let op = starling_engine::catalog::CatalogOp::DropDatabase { name: "d".into(), if_exists: false };
        core.ddl(op).await.map(drop)
    })
    .unwrap()
    .unwrap();
    wait_until("the end of the files", &node, |_| files() == 0);
    node.stop();
    let node = start(&data, 1);
    let databases = node.run_on(CoreId(0), |core| async move { core.catalog().databases().count() }).unwrap();
    assert_eq!(databases, 1, "the hidden one is left");
    node.stop();
}
