//! Planner, slow lane, panics, sessions, metrics.

use std::rc::Rc;
use std::time::Duration;

use starling_engine::EngineError;
use starling_engine::runtime::Class;
use starling_engine::shard::{ProcessInfo, SessionControl};
use starling_storage::ids::CoreId;

use super::support::*;

#[test]
fn the_planner_and_the_slow_lane_answer_and_keep_their_panics() {
    let node = start(&fresh("lanes"), 2);
    node.run_on(CoreId(1), |core| async move {
        assert_eq!(core.planner().run(|| 6 * 7).await, Ok(42));
        let error = core.planner().run(|| -> u32 { panic!("no plan") }).await.unwrap_err();
        assert!(error.message.contains("no plan"), "{error}");
        // Deep recursion fits in 16 MiB.
        fn deep(n: u32) -> u32 {
            let block = std::hint::black_box([n; 256]);
            if n == 0 { 0 } else { deep(n - 1) + block[0] - n + 1 }
        }
        assert_eq!(core.planner().run(|| deep(3_000)).await, Ok(3_000));
        let inside = async { tokio::task::spawn(async { 5 }).await.unwrap_or(0) };
        assert_eq!(core.slow_lane().run(inside).await, Ok(5));
        let error = core.slow_lane().run(async { panic!("slow") }).await.unwrap_err() as EngineError;
        assert!(error.message.contains("slow"), "{error}");
        let endless = core.slow_lane().spawn(std::future::pending::<()>()).await.unwrap();
        endless.abort();
        assert_eq!(endless.join().await.unwrap_err().code, 1317);
    })
    .unwrap();
    node.stop();
}

#[test]
fn a_job_that_is_given_up_does_not_keep_the_planner() {
    let node = start(&fresh("given-up"), 1);
    let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = end.clone();
    let answers = node
        .run_on(CoreId(0), |core| async move {
            let mut answers = Vec::new();
            // Each goes on after it was given up, until the test ends; the job behind it is skipped.
            for _ in 0..3 {
                let seen = seen.clone();
                let endless = core.planner().run(move || {
                    while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
                let behind = core.planner().run(|| panic!("nobody waits for this"));
                let both = futures::future::join(endless, behind);
                let deadline = std::time::Instant::now() + Duration::from_millis(50);
                assert!(starling_engine::runtime::timer::until(deadline, both).await.is_none());
                answers.push(core.planner().run(|| 42).await);
            }
            answers
        })
        .unwrap();
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(answers, vec![Ok(42); 3]);
    node.stop();
}

#[test]
fn a_busy_reactor_lets_its_slow_lane_live() {
    let node = start(&fresh("pause"), 1);
    let (took, used, pauses) = node
        .run_on(CoreId(0), |core| async move {
            let begun = std::time::Instant::now();
            let busy = Rc::new(std::cell::Cell::new(true));
            let running = busy.clone();
            core.spawn(Class::Query, "busy", async move {
                while running.get() {
                    let slice = std::time::Instant::now();
                    while slice.elapsed() < starling_engine::limits::TIME_SLICE {
                        std::hint::spin_loop();
                    }
                    starling_engine::runtime::timer::yield_now().await;
                }
            });
            // 100 ms of work for the slow lane: at nice 19 alone it would take seconds.
            let work = async {
                let before = cpu_time();
                let mut x = 0u64;
                for i in 0..60_000_000u64 {
                    x = std::hint::black_box(x ^ i);
                }
                std::hint::black_box(x);
                cpu_time() - before
            };
            let used = core.slow_lane().run(work).await.unwrap();
            let took = begun.elapsed();
            busy.set(false);
            let reports = starling_engine::metrics::reports(&core).await.unwrap();
            (took, used, reports[0].pauses)
        })
        .unwrap();
    // Other tests share the CPU, so how long it took says nothing; a reactor that never pauses may only be one that lost the CPU to others.
    assert!(pauses > 0 || used * 5 >= took, "the reactor never paused, and its slow lane got {used:?} of {took:?}");
    node.stop();
}

/// What the calling thread has used of a CPU.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn a_panic_ends_its_task_only() {
    let node = start(&fresh("panic"), 1);
    let lost = node.run_on(CoreId(0), |core| async move {
        core.spawn(Class::Control, "bad session", async { panic!("a session's fault") });
        if core.cores() == 1 {
            panic!("and another");
        }
    });
    assert!(lost.is_err(), "the caller is told that there is no answer");
    assert_eq!(node.run_on(CoreId(0), |core| async move { core.id() }).unwrap(), CoreId(0));
    node.stop();
}

struct Fake {
    killed: std::cell::Cell<Option<bool>>,
}

impl SessionControl for Fake {
    fn kill(&self, query_only: bool) {
        self.killed.set(Some(query_only));
    }

    fn describe(&self) -> ProcessInfo {
        ProcessInfo { user: "root".into(), command: "Query".into(), ..ProcessInfo::default() }
    }
}

#[test]
fn sessions_are_found_and_killed_from_any_core() {
    let node = start(&fresh("kill-session"), 2);
    let (id, killed) = node
        .run_on(CoreId(1), |core| async move {
            let slot = core.sessions().register().unwrap();
            let session = Rc::new(Fake { killed: std::cell::Cell::new(None) });
            let as_control: Rc<dyn SessionControl> = session.clone();
            slot.attach(Rc::downgrade(&as_control));
            let (killed, told) = futures::channel::oneshot::channel();
            let id = slot.id();
            core.spawn(Class::Control, "session", async move {
                let (_slot, _session) = (slot, as_control);
                while session.killed.get().is_none() {
                    starling_engine::runtime::timer::sleep(Duration::from_millis(1)).await;
                }
                killed.send(session.killed.get()).unwrap();
            });
            (id, told)
        })
        .unwrap();
    let (list, missing) = node
        .run_on(CoreId(0), move |core| async move {
            let list = core.process_list().await.unwrap();
            core.kill(id, true).await.unwrap();
            (list, core.kill(0xff00_0001, false).await.unwrap_err().code)
        })
        .unwrap();
    assert_eq!((list.len(), list[0].id, list[0].user.as_str(), missing), (1, id, "root", 1094));
    assert_eq!(futures_lite::future::block_on(killed), Ok(Some(true)));
    node.stop();
}

#[test]
fn metrics_are_prometheus_text_of_all_cores() {
    let node = start(&fresh("metrics"), 2);
    create_database(&node);
    let table = create_table(&node, "t", 4);
    load(&node, 0, table, (0..100).map(|k| (k, k)).collect(), None).unwrap();
    let scrape = |core: Rc<starling_engine::shard::Core>| async move { starling_engine::metrics::scrape(&core).await };
    let text = node.run_on(CoreId(1), scrape).unwrap().unwrap();
    assert!(text.contains("starling_rows_loaded_total{core=\"0\"} 100"), "{text}");
    assert!(text.contains("starling_log_records_total{core=\"1\"}") && text.contains("quantile=\"0.999\""));
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    node.stop();
}
