//! Labels succeed once (P2, R9).

use std::time::{Duration, Instant};

use starling_engine::error::LabelStatus;
use starling_engine::runtime::{Node, NodeOptions};
use starling_storage::ids::CoreId;

use super::support::*;

#[test]
fn a_label_succeeds_once_from_any_core_and_after_a_restart() {
    let data = fresh("labels");
    let node = start(&data, 2);
    create_database(&node);
    let table = create_table(&node, "t", 2);
    load(&node, 0, table, vec![(1, 1)], Some("l1")).unwrap();
    for core in 0..2 {
        let error = load(&node, core, table, vec![(1, 2)], Some("l1")).unwrap_err();
        assert_eq!(error.label_status(), Some(LabelStatus::Finished), "{error:?}");
    }
    load(&node, 1, table, vec![(2, 2)], Some("l2")).unwrap();
    node.abandon();
    let node = start(&data, 3);
    let table = table_id(&node, "t");
    for label in ["l1", "l2"] {
        let error = load(&node, 2, table, vec![(1, 3)], Some(label)).unwrap_err();
        assert_eq!(error.label_status(), Some(LabelStatus::Finished), "{error:?}");
    }
    assert_eq!(read(&node, table).1.into_iter().collect::<Vec<_>>(), vec![(1, 1), (2, 2)]);
    node.stop();
}

/// Used before a start, forgotten after it, and used again: the second use is one like the first.
#[test]
fn a_label_expires_and_is_used_again_across_starts() {
    let data = fresh("expiry");
    let node = start(&data, 2);
    create_database(&node);
    let table = create_table(&node, "t", 2);
    load(&node, 0, table, vec![(1, 1)], Some("l")).unwrap();
    assert!(load(&node, 1, table, vec![(1, 2)], Some("l")).is_err());
    node.abandon();

    let node = Node::start(NodeOptions { label_keep: Duration::from_millis(500), ..options(&data, 3) }).unwrap();
    let table = table_id(&node, "t");
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = load(&node, 2, table, vec![(1, 3)], Some("l")) {
        assert_eq!(error.label_status(), Some(LabelStatus::Finished), "{error:?}");
        assert!(Instant::now() < until, "the label does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    node.abandon();

    let node = start(&data, 1);
    let table = table_id(&node, "t");
    // It may have expired once more before the stop; kept for three days now, it is used or it can be used once.
    let again = load(&node, 0, table, vec![(1, 4)], Some("l"));
    let last = if again.is_ok() { 4 } else { 3 };
    assert!(load(&node, 0, table, vec![(1, 5)], Some("l")).is_err());
    assert_eq!(read(&node, table).1.into_iter().collect::<Vec<_>>(), vec![(1, last)]);
    node.stop();
}

#[test]
fn a_running_label_is_told_apart_and_a_failed_one_is_free_again() {
    let node = start(&fresh("running"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 2);
    let (running, after) = node
        .run_on(CoreId(0), move |core| async move {
            let first = open(&core, table, Some("l")).await.unwrap();
            let running = open(&core, table, Some("l")).await.err().unwrap();
            first.abort().await;
            let mut again = open(&core, table, Some("l")).await.unwrap();
            again.push(rows(&[(1, 1)])).await.unwrap();
            (running, again.commit(None).await)
        })
        .unwrap();
    assert_eq!(running.label_status(), Some(LabelStatus::Running));
    assert_eq!(after.unwrap().label, "l");
    // The same label in another database is another label; here: generated ones are not kept and differ.
    let (a, b) =
        (load(&node, 0, table, vec![(1, 2)], None).unwrap(), load(&node, 0, table, vec![(1, 3)], None).unwrap());
    assert_ne!(a.label, b.label);
    node.stop();
}
