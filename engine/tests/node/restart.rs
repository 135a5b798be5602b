//! What is acknowledged survives, with other core counts too (P1, R16, R17).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use starling_engine::runtime::Node;

use super::support::*;

#[test]
fn everything_is_there_after_a_stop_with_other_core_counts() {
    let data = fresh("stop");
    let mut expected = BTreeMap::new();
    let node = start(&data, 2);
    create_database(&node);
    let t = create_table(&node, "t", 6);
    load(&node, 1, t, (0..1000).map(|k| (k, 1)).collect(), None).unwrap();
    expected.extend((0..1000).map(|k| (k, 1)));
    assert_eq!(node.stop().errors, Vec::<String>::new());
    for (round, cores) in [3u16, 1, 2].into_iter().enumerate() {
        let node = start(&data, cores);
        let t = table_id(&node, "t");
        assert_eq!(read(&node, t).1, expected, "after a start with {cores} cores");
        let pairs: Vec<(i64, i64)> = (0..100).map(|k| (k * 10, round as i64 + 2)).collect();
        expected.extend(pairs.iter().copied());
        load(&node, cores - 1, t, pairs, None).unwrap();
        assert_eq!(read(&node, t).1, expected);
        node.stop();
    }
}

/// Killed while loads run: each acknowledged load is there whole, an unacknowledged one whole or not at all.
#[test]
fn acknowledged_loads_survive_a_kill() {
    let data = fresh("kill");
    let node = start(&data, 2);
    create_database(&node);
    create_table(&node, "t", 4);
    node.stop();
    let mut acknowledged = BTreeMap::new();
    for (round, cores) in [2u16, 3, 1, 2].into_iter().enumerate() {
        let node = Arc::new(start(&data, cores));
        let t = table_id(&node, "t");
        check(&node, &acknowledged);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3i64)
            .map(|writer| {
                let (node, stop) = (node.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut done = Vec::new();
                    for i in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return done;
                        }
                        // Five keys, all of them with the same value: a torn load would show.
                        let base = (round as i64 * 3 + writer) * 1_000_000 + i * 5;
                        let pairs: Vec<(i64, i64)> = (base..base + 5).map(|k| (k, base)).collect();
                        load(&node, (writer % i64::from(cores)) as u16, t, pairs.clone(), None).unwrap();
                        done.extend(pairs);
                    }
                    done
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|w| acknowledged.extend(w.join().unwrap()));
        Arc::into_inner(node).unwrap().abandon();
    }
    let node = start(&data, 2);
    check(&node, &acknowledged);
    node.stop();
}

fn check(node: &Node, acknowledged: &BTreeMap<i64, i64>) {
    let (_, rows) = read(node, table_id(node, "t"));
    for (k, v) in acknowledged {
        assert_eq!(rows.get(k), Some(v), "an acknowledged row is lost");
    }
    for base in rows.values() {
        assert!((*base..base + 5).all(|k| rows.get(&k) == Some(base)), "the load at {base} is torn");
    }
}

#[test]
fn a_second_node_on_the_same_directory_is_refused() {
    let data = fresh("lock");
    let node = start(&data, 1);
    let error = Node::start(options(&data, 1)).err().unwrap();
    assert!(error.message.contains("data directory") || error.message.contains("lock"), "{error}");
    node.stop();
    start(&data, 1).stop();
}

/// R16: a damaged segment file holds back its table only.
#[test]
fn a_damaged_file_holds_back_its_table_only() {
    let data = fresh("damage");
    let node = start(&data, 2);
    create_database(&node);
    let (good, bad) = (create_table(&node, "good", 2), create_table(&node, "bad", 1));
    load(&node, 0, good, vec![(1, 1)], None).unwrap();
    // Big enough for a file of its own.
    load(&node, 0, bad, (0..1_500_000).map(|k| (k, k)).collect(), None).unwrap();
    node.stop();
    assert!(std::fs::read_dir(data.join("seg")).unwrap().count() > 0);
    for entry in std::fs::read_dir(data.join("seg")).unwrap() {
        std::fs::write(entry.unwrap().path(), vec![0x5a; 8192]).unwrap();
    }
    let node = start(&data, 2);
    assert_eq!(read(&node, good).1, BTreeMap::from([(1, 1)]));
    load(&node, 1, good, vec![(2, 2)], None).unwrap();
    let error = load(&node, 0, bad, vec![(1, 1)], None).unwrap_err();
    assert!(error.message.contains("damaged") && error.message.contains("seg/"), "{error}");
    node.stop();
}
