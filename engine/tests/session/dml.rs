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
