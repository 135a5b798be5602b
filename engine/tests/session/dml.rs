//! INSERT, UPDATE, DELETE.

use crate::support::Server;

#[test]
fn inserts_of_every_form() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int, s varchar(5), n decimal(6, 2) default '1.50', at datetime default current_timestamp) primary key (k)");
    assert_eq!(server.run("insert into d.t (k, s) values (1, 'a'), (2, null), (1, 'b')"), "ok(3)");
    assert_eq!(
        server.run("select k, s, n, at is not null x from d.t order by k"),
        "k|s|n|x\n1|b|1.50|1\n2|NULL|1.50|1"
    );
    assert_eq!(
        server.run("insert into d.t values (3, 'c', 2.345, '2020-01-02 03:04:05'), (4, default, default, '20200102')"),
        "ok(2)"
    );
    assert_eq!(
        server.run("select * from d.t where k > 2 order by k"),
        "k|s|n|at\n3|c|2.35|2020-01-02 03:04:05\n4|NULL|1.50|2020-01-02 00:00:00"
    );
    assert_eq!(server.run("insert into d.t (k, s) values (1 + 4, concat('x', 'y')), (6, upper('z'))"), "ok(2)");
    assert_eq!(server.run("insert into d.t values (7, 'm', 1, '2026-11-01 10:00:00'), (8, 'n', 2, now())"), "ok(2)");
    assert_eq!(server.run("delete from d.t where k in (7, 8)"), "ok(2)");
    assert_eq!(server.run("insert into d.t (s, k) select s, k + 10 from d.t where k < 3"), "ok(2)");
    assert_eq!(server.run("select k, s from d.t order by k desc limit 4"), "k|s\n12|NULL\n11|b\n6|Z\n5|xy");
    assert_eq!(server.run("insert into d.t (k, s) with label l1 values (20, 'l')"), "ok(1)");
    assert!(
        server
            .run("insert into d.t with label l1 (k, s) values (21, 'l')")
            .contains("Label [l1] has already been used")
    );
}

#[test]
fn what_does_not_fit_fails_the_statement() {
    let server = Server::start(1);
    server.run("create database d; create table d.t (k int not null, s varchar(3), x tinyint)");
    for (sql, part) in [
        ("insert into d.t values (1, 'abcd', 1)", "4 bytes"),
        ("insert into d.t values (1, 'a', 300)", "'300'"),
        ("insert into d.t values (1, 'a', 'x')", "'x'"),
        ("insert into d.t values (null, 'a', 1)", "NULL value in non-nullable column 'k'"),
        ("insert into d.t (s) values ('a')", "doesn't have a default value"),
        ("insert into d.t select null, 'a', 1", "NULL value in non-nullable column 'k'"),
    ] {
        let got = server.run(sql);
        assert!(got.starts_with("error ") && got.contains(part), "{sql}: {got}");
    }
    assert_eq!(server.run("select count(*) c from d.t"), "c\n0");
    assert_eq!(
        server.run("set enable_insert_strict = off; insert into d.t values (1, 'a', 300); select * from d.t"),
        "k|s|x\n1|a|NULL"
    );
}

#[test]
fn updates_and_deletes() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int, v int, s varchar(10)) primary key (k) distributed by hash(k) buckets 4; create table d.u (k bigint, w int)");
    server.run("insert into d.t values (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c'), (4, null, 'd'); insert into d.u values (1, 100), (3, 300)");
    assert_eq!(server.run("update d.t set v = v + 1 where k = 1"), "ok(1)");
    assert_eq!(server.run("update d.t set v = v * 2, s = concat(s, '!') where v > 15"), "ok(2)");
    assert_eq!(server.run("select * from d.t order by k"), "k|v|s\n1|11|a\n2|40|b!\n3|60|c!\n4|NULL|d");
    assert_eq!(server.run("update d.t set v = u.w from d.u where t.k = u.k"), "ok(2)");
    assert_eq!(server.run("update d.t x set x.s = default, v = (select max(w) from d.u) where x.k = 4"), "ok(1)");
    assert_eq!(server.run("select * from d.t order by k"), "k|v|s\n1|100|a\n2|40|b!\n3|300|c!\n4|300|NULL");
    for (sql, part) in [
        ("update d.t set k = 5 where k = 1", "primary key column cannot be updated"),
        ("update d.t set v = 5", "must specify where"),
        ("update d.t set nothing = 5 where k = 1", "error 5509"),
        ("update d.u set w = 5 where k = 1", "does not support update"),
        ("delete from d.t", "Where clause"),
    ] {
        let got = server.run(sql);
        assert!(got.contains(part), "{sql}: {got}");
    }
    assert_eq!(server.run("delete from d.t where k = 1"), "ok(1)");
    assert_eq!(server.run("delete from d.t where k = 1"), "ok(0)");
    assert_eq!(server.run("delete from d.t using d.u where t.k = u.k"), "ok(1)");
    assert_eq!(server.run("delete from d.t where k in (select 2)"), "ok(1)");
    assert_eq!(server.run("select * from d.t"), "k|v|s\n4|300|NULL");
    assert_eq!(server.run("delete from d.u where w >= 200 and k is not null"), "ok(0)");
    assert_eq!(server.run("select * from d.u"), "k|w\n1|100");
    assert!(server.run("delete from d.u where w + 1 = 101").contains("takes only column op constant"));
}

#[test]
fn eight_clients_lose_no_update() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int, v int) primary key (k) distributed by hash(k) buckets 3; insert into d.t values (1, 0), (2, 0)");
    const CLIENTS: u16 = 8;
    const UPDATES: usize = 40;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                server.with(client % 2, |client| async move {
                    for _ in 0..UPDATES {
                        assert_eq!(client.run("update d.t set v = v + 1 where k = 1").await, "ok(1)");
                    }
                });
            });
        }
        let server = &server;
        scope.spawn(move || {
            server.with(0, |client| async move {
                for n in 0..UPDATES {
                    assert_eq!(client.run(&format!("insert into d.t values (2, {n}), ({}, 1)", n + 10)).await, "ok(2)");
                }
            });
        });
    });
    let expect = format!("v\n{}", usize::from(CLIENTS) * UPDATES);
    assert_eq!(server.run("select v from d.t where k = 1"), expect);
}

/// How often changes read again so far.
fn read_again(server: &Server) -> u64 {
    let reports =
        server.with(0, |client| async move { starling_engine::metrics::reports(client.session.core()).await.unwrap() });
    reports.iter().map(|report| report.counters.changes_read_again).sum()
}

#[test]
fn changes_read_again_only_when_what_they_read_has_changed() {
    let server = Server::start(2);
    server.run(
        "create database d;
         create table d.t (k int, v int) primary key (k) distributed by hash(k) buckets 4;
         create table d.u (k int, w int) primary key (k) distributed by hash(k) buckets 4;
         create table d.other (k int, v int) primary key (k) distributed by hash(k) buckets 4;
         insert into d.t values (1, 0), (2, 0); insert into d.u values (1, 1), (2, 1)",
    );
    const UPDATES: usize = 60;
    // Commits into another table all the while.
    let done = std::sync::atomic::AtomicBool::new(false);
    let loaded = std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        let loads = [0, 1].map(|core| {
            scope.spawn(move || {
                let mut loads = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let sql = format!("insert into d.other values ({loads}, {core})");
                    assert_eq!(server.with(core, move |c| async move { c.run(&sql).await }), "ok(1)");
                    loads += 1;
                }
                loads
            })
        });
        server.with(1, |client| async move {
            for _ in 0..UPDATES {
                assert_eq!(client.run("update d.t set v = t.v + u.w from d.u where t.k = u.k").await, "ok(2)");
                assert_eq!(client.run("delete from d.u where w > (select max(v) + 1000 from d.t)").await, "ok(0)");
            }
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        loads.map(|load| load.join().unwrap()).iter().sum::<usize>()
    });
    assert!(loaded > UPDATES, "{loaded} loads came beside the updates");
    assert_eq!(read_again(&server), 0);
    assert_eq!(server.run("select * from d.t order by k"), format!("k|v\n1|{UPDATES}\n2|{UPDATES}"));
    // Updates of the same rows from two sides do read again, and lose nothing.
    std::thread::scope(|scope| {
        for core in [0, 1] {
            let server = &server;
            scope.spawn(move || {
                server.with(core, |client| async move {
                    for _ in 0..UPDATES {
                        assert_eq!(client.run("update d.t set v = v + 1 where v >= 0").await, "ok(2)");
                    }
                });
            });
        }
    });
    assert!(read_again(&server) > 0);
    assert_eq!(server.run("select min(v) a, max(v) b from d.t"), format!("a|b\n{0}|{0}", 3 * UPDATES));
}

/// A load gives its turn back on each core when it is applied there; an update that gets the turn then must see it, though another core is behind.
#[test]
fn an_update_sees_the_load_whose_turn_it_took_over() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int, v bigint) primary key (k) distributed by hash(k) buckets 2; insert into d.t values (1, 0)");
    const LOADS: usize = 40;
    const STEP: usize = 1_000_000;
    // One row for the core that has key 1, and many for the other, which applies them longer.
    let others: Vec<String> = server.with(0, |client| async move {
        let catalog = client.session.core().catalog();
        let table = catalog.table("d", "t").unwrap();
        let keys: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int32Array::from_iter_values(1..60_000));
        let hashes = starling_storage::key::bucket_hash(&[keys], 59_999).unwrap();
        let buckets: Vec<u32> = hashes.into_iter().map(|hash| table.bucket_of(hash)).collect();
        (1..60_000).zip(&buckets).filter(|(_, b)| **b != buckets[0]).map(|(k, _)| format!("({k}, 0)")).collect()
    });
    let others = others.join(", ");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        for core in [0, 1, 0, 1] {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let sql = "update d.t set v = v + 1 where k = 1";
                    assert_eq!(server.with(core, move |c| async move { c.run(sql).await }), "ok(1)");
                }
            });
        }
        let lost = server.with(0, |client| async move {
            let mut lost = Vec::new();
            for load in 1..=LOADS {
                client.run(&format!("insert into d.t values (1, {}), {others}", load * STEP)).await;
                let read = client.run("select v from d.t where k = 1").await;
                let value: usize = read.trim_start_matches("v\n").parse().unwrap();
                lost.extend((value / STEP != load).then_some(load));
            }
            lost
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(lost, Vec::<usize>::new(), "loads that an update overwrote without having seen them");
    });
}

#[test]
fn properties_of_an_insert_have_their_effect() {
    let server = Server::start(1);
    server.run("create database d; create table d.t (k int not null, v tinyint)");
    let insert =
        |properties: &str, rows: &str| server.run(&format!("insert into d.t properties ({properties}) {rows}"));
    // strict_mode before the session's variable, in both directions.
    let got = insert("\"strict_mode\" = \"true\"", "values (1, 300)");
    assert!(got.starts_with("error 5610"), "{got}");
    assert_eq!(insert("\"strict_mode\" = \"FALSE\"", "values (1, 300)"), "ok(1)");
    let got = server
        .run("set enable_insert_strict = off; insert into d.t properties (\"strict_mode\" = \"true\") select 2, 300");
    assert!(got.starts_with("error 5610"), "{got}");
    // max_filter_ratio holds for rows that are left out, when not strict.
    let rows = "values (null, 1), (3, 1), (4, 1), (5, 1)";
    let got = insert("\"strict_mode\" = \"false\", \"max_filter_ratio\" = \"0.2\"", rows);
    assert!(got.starts_with("error 5604") && got.contains("max_filter_ratio is 0.2"), "{got}");
    assert_eq!(insert("\"strict_mode\" = \"false\", \"max_filter_ratio\" = \"0.25\"", rows), "ok(3)");
    let got = insert("\"max_filter_ratio\" = \"1\"", rows);
    assert!(got.starts_with("error 5610"), "strict fails at the first: {got}");
    assert_eq!(server.run("select * from d.t order by k"), "k|v\n1|NULL\n3|1\n4|1\n5|1");
    for (property, part) in [
        ("\"strict_mode\" = \"maybe\"", "true or false"),
        ("\"max_filter_ratio\" = \"1.5\"", "from 0 to 1"),
        ("\"max_filter_ratio\" = \"nan\"", "from 0 to 1"),
        ("\"timeout\" = \"0\"", "seconds from 1"),
        ("\"partial_update_mode\" = \"fast\"", "row, column or auto"),
        ("\"merge_condition\" = \"v\"", "'merge_condition'"),
        ("\"log_rejected_record_num\" = \"5\"", "'log_rejected_record_num'"),
        ("\"match_column_by\" = \"name\"", "'match_column_by'"),
        ("\"stric_mode\" = \"true\"", "'stric_mode'"),
    ] {
        let got = insert(property, "values (9, 9)");
        assert!(got.starts_with("error 1064") && got.contains(part), "{property}: {got}");
    }
}

#[test]
fn an_insert_ends_after_its_timeout() {
    let server = Server::start(1);
    server.run("create database d; create table d.t (k bigint); create table d.n (n int)");
    let values: Vec<String> = (0..2000).map(|n| format!("({n})")).collect();
    server.run(&format!("insert into d.n values {}", values.join(",")));
    // 8 milliards of rows take longer than a second anywhere.
    let begun = std::time::Instant::now();
    let got = server.run(
        "insert into d.t properties (\"timeout\" = \"1\") select max(a.n * b.n + c.n) from d.n a, d.n b, d.n c where a.n + b.n <> c.n * 7",
    );
    assert!(got.starts_with("error ") && got.contains("timeout"), "{got}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(server.run("select count(*) c from d.t"), "c\n0");
    // Without it the variable decides, not the timeout of queries.
    assert_eq!(
        server.run("set query_timeout = 1; insert into d.t properties (\"timeout\" = \"100\") select 1"),
        "ok(1)"
    );
}
