//! Distributed plans give what plain DataFusion gives over the same rows (P8), on 1, 2 and 3 cores, with and without broadcasts, with and
//! without the fast lane. The cores are real executors; the tablets are rows in memory, so that what is tested here is planning and
//! execution alone.

mod node;
mod statements;
mod world;

use std::time::{Duration, Instant};

use world::{World, error_of, rows_of};

/// Every statement under every way of running it.
#[test]
fn statements_give_what_datafusion_gives() {
    let oracle = world::oracle();
    for cores in 1..=3 {
        let world = World::new(cores);
        for (broadcast, fast, statistics) in
            [(200_000, true, true), (0, true, true), (0, false, true), (0, true, false), (200_000, false, false)]
        {
            for statement in statements::STATEMENTS {
                let expected = oracle.rows(statement);
                let found = world.rows(statement, broadcast, fast, statistics);
                let found = found.unwrap_or_else(|e| {
                    let plan = world.explain(statement, broadcast, fast, statistics).join("\n");
                    panic!("{statement}\ncores {cores} broadcast {broadcast} fast {fast}: {e}\n{plan}")
                });
                if expected != found {
                    let plan = world.explain(statement, broadcast, fast, statistics).join("\n");
                    let (few, some) = (&expected[..expected.len().min(10)], &found[..found.len().min(10)]);
                    panic!(
                        "{statement}\ncores {cores} broadcast {broadcast} fast {fast} statistics {statistics}\nexpected {} rows {few:#?}\n\
                         found {} rows {some:#?}\n{plan}",
                        expected.len(),
                        found.len(),
                    );
                }
            }
        }
    }
}

#[test]
fn ordered_statements_keep_their_order() {
    let oracle = world::oracle();
    for cores in 1..=3 {
        let world = World::new(cores);
        for statement in statements::ORDERED {
            for fast in [true, false] {
                assert_eq!(
                    oracle.rows_in_order(statement),
                    world.rows_in_order(statement, fast),
                    "{statement} on {cores} cores"
                );
            }
        }
    }
}

#[test]
fn a_second_row_of_a_scalar_subquery_is_an_error() {
    let world = World::new(2);
    let error = error_of(world.rows("SELECT k FROM t WHERE v > (SELECT v FROM t WHERE k < 100)", 0, true, true));
    assert!(error.message.contains("Subquery must return at most one row"), "{error}");
}

#[test]
fn an_error_of_one_core_ends_the_query() {
    let world = World::new(3);
    let error = error_of(world.rows("SELECT count(*) FROM broken JOIN t ON broken.id = t.k", 0, true, true));
    assert!(error.message.contains("broken"), "{error}");
}

#[test]
fn a_query_that_needs_more_memory_than_it_may_is_refused() {
    let world = World::new(2);
    let error = world.error_with("SELECT a.v, b.v FROM t a JOIN t b ON a.v = b.v", |query| query.memory = 10_000);
    assert_eq!((error.code, &error.state), (5609, b"53200"), "{error}");
}

#[test]
fn a_query_ends_at_its_timeout_and_when_it_is_cancelled() {
    let world = World::new(2);
    let endless = "SELECT count(*) FROM t a, t b, t c WHERE a.v + b.v > c.v";
    let start = Instant::now();
    let error = world.error_with(endless, |query| query.timeout = Some(Duration::from_secs(1)));
    assert_eq!(error.code, 5024, "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let start = Instant::now();
    let error = world.error_with(endless, |query| {
        let cancel = query.cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.store(true, std::sync::atomic::Ordering::SeqCst);
        });
    });
    assert_eq!(error.code, 1317, "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn dropping_the_stream_ends_the_query() {
    let world = World::new(2);
    let rows = world.first_batch("SELECT a.k FROM t a, t b");
    assert!(rows > 0);
    // The cores are free again.
    assert_eq!(rows_of(world.rows("SELECT count(*) FROM e", 0, true, true)), vec!["0"]);
}

#[test]
fn explain_names_lanes_joins_and_pruning() {
    let world = World::new(2);
    let text = |statement: &str, broadcast| world.explain(statement, broadcast, true, true).join("\n");
    let colocated = text("SELECT count(*) FROM c1 JOIN c2 ON c1.id = c2.id", 0);
    assert!(colocated.contains("(COLOCATE)") && colocated.contains("colocate: true"), "{colocated}");
    assert!(!colocated.contains("HASH_PARTITIONED"), "{colocated}");
    let bucket = text("SELECT u.w, t.v FROM u JOIN t ON u.k = t.k", 0);
    assert!(bucket.contains("(BUCKET_SHUFFLE)"), "{bucket}");
    let broadcast = text("SELECT u.w, t.v FROM u JOIN t ON u.w = t.g", 100_000);
    assert!(broadcast.contains("(BROADCAST)"), "{broadcast}");
    let hash = text("SELECT u.w, t.v FROM u JOIN t ON u.w = t.g", 0);
    assert!(hash.contains("(PARTITIONED)"), "{hash}");
    let pruned = text("SELECT v FROM t WHERE k = 17 AND v > 3", 0);
    assert!(
        pruned.contains("tabletRatio=1/7") && pruned.contains("k = 17") && pruned.contains("LANE: FAST"),
        "{pruned}"
    );
}

#[test]
fn a_dashboard_runs_in_the_fast_lane() {
    let world = World::new(2);
    for statement in [
        "SELECT s, count(*), sum(v) AS n, min(h) FROM w WHERE v > 100 GROUP BY s ORDER BY n DESC LIMIT 10",
        "SELECT count(*), avg(d), max(ts) FROM t WHERE g IN (1, 2)",
        "SELECT k, v * 2 FROM t WHERE s LIKE 'name1%' ORDER BY v LIMIT 20",
        "SELECT date_trunc('hour', ts), count(*) FROM t GROUP BY 1",
        "SELECT 1",
    ] {
        let text = world.explain(statement, 0, true, true).join("\n");
        assert!(!text.contains("LANE: SLOW"), "{text}");
    }
}

#[test]
fn explain_analyze_counts_rows() {
    let world = World::new(2);
    let text = world.analyze("SELECT g, count(*) FROM t WHERE v > 10 GROUP BY g").join("\n");
    assert!(text.contains("OlapScan rows=") && text.contains("core=1"), "{text}");
}

/// Executors of glommio 0.9 sometimes sleep on work they have (`runtime::heartbeat`): many short queries over an exchange, none of which may
/// hang. Without the heartbeat one of the first hundred did on a busy machine.
#[test]
fn no_query_hangs() {
    let world = World::new(2);
    for _ in 0..100 {
        let sql = "SELECT max(n), min(n) FROM (SELECT h, s, count(v) AS n FROM w GROUP BY h, s)";
        assert_eq!(rows_of(world.rows(sql, 0, true, true)).len(), 1);
    }
}
