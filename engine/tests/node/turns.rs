//! UPDATE loses no concurrent change (R7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_storage::ids::{CoreId, TableId, TabletId};

use super::support::*;

const WAIT: Duration = Duration::from_secs(30);

fn tablets(node: &starling_engine::runtime::Node, table: TableId) -> Vec<TabletId> {
    node.run_on(CoreId(0), move |core| async move { core.catalog().table_by_id(table).unwrap().tablets.clone() })
        .unwrap()
}

/// 8 tasks x N increments of one key, beside loads into the same table: the sum is exact.
#[test]
fn increments_are_not_lost() {
    const TASKS: u16 = 8;
    const EACH: i64 = 60;
    let node = Arc::new(start(&fresh("increments"), 2));
    create_database(&node);
    let table = create_table(&node, "t", 1);
    let tablet = tablets(&node, table);
    load(&node, 0, table, vec![(1, 0)], None).unwrap();
    let owner = owners(&node, table).iter().position(|n| *n == 1).unwrap() as u16;
    let beside = {
        let node = node.clone();
        std::thread::spawn(move || {
            for k in 0..100 {
                load(&node, (k % 2) as u16, table, vec![(1000 + k, k)], None).unwrap();
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (node, tablet) = (node.clone(), tablet.clone());
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    let tablet = tablet.clone();
                    let coordinator = CoreId(task % 2);
                    // The read happens on the owner, under the turn: hand the value over.
                    node.run_on(coordinator, move |core| async move {
                        let turns = core.turns(&tablet, WAIT).await.unwrap();
                        let pin = core.pin();
                        let value = value_on_owner(&core, owner, table, pin.seq()).await;
                        let mut load = open(&core, table, None).await.unwrap();
                        load.push(rows(&[(1, value + 1)])).await.unwrap();
                        load.commit(Some(turns)).await.unwrap();
                    })
                    .unwrap();
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    beside.join().unwrap();
    let (_, rows) = read(&node, table);
    assert_eq!((rows[&1], rows.len()), (i64::from(TASKS) * EACH, 101));
    Arc::into_inner(node).unwrap().stop();
}

/// Reads key 1 on the core that owns it.
async fn value_on_owner(
    core: &std::rc::Rc<starling_engine::shard::Core>,
    owner: u16,
    table: TableId,
    at: starling_storage::ids::Seq,
) -> i64 {
    let pairs = core.on(CoreId(owner), move |there| async move { read_here(&there, table, at).await }).await.unwrap();
    pairs.into_iter().collect::<BTreeMap<_, _>>()[&1]
}

#[test]
fn a_turn_is_given_back_and_a_wait_ends_with_1205() {
    let node = start(&fresh("timeout"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    let tablets = tablets(&node, table);
    node.run_on(CoreId(0), move |core| async move {
        let held = core.turns(&tablets, WAIT).await.unwrap();
        let begun = Instant::now();
        let error = core.turns(&tablets[1..2], Duration::from_millis(50)).await.err().unwrap();
        assert_eq!((error.code, begun.elapsed() >= Duration::from_millis(50)), (1205, true));
        // A load waits behind it, too.
        let mut options = load_options(None);
        options.timeout = Duration::from_millis(100);
        let mut load = core.open_load(table, options).await.unwrap();
        load.push(rows(&[(1, 1), (2, 2), (3, 3), (4, 4)])).await.unwrap();
        assert!(load.commit(None).await.is_err());
        drop(held);
        drop(core.turns(&tablets, WAIT).await.unwrap());
        let mut load = open(&core, table, None).await.unwrap();
        load.push(rows(&[(1, 1)])).await.unwrap();
        load.commit(None).await.unwrap();
    })
    .unwrap();
    assert_eq!(read(&node, table).1, BTreeMap::from([(1, 1)]));
    node.stop();
}
