//! INSERT with a column list into a primary key table: a partial update (R7).

use crate::support::Server;

fn server() -> Server {
    let server = Server::start(2);
    server.run(
        "create database d;
         create table d.t (k int, a int, b varchar(10) default 'none', wide largeint, n decimal(10, 2)) primary key (k) distributed by hash(k) buckets 4",
    );
    server
}

const ALL: &str = "select * from d.t order by k";

#[test]
fn columns_that_are_not_named_stay() {
    let server = server();
    server.run(
        "insert into d.t values (1, 10, 'x', 170141183460469231731687303715884105727, 1.5), (2, 20, null, -5, null)",
    );
    // Existing and new rows in one statement; by literals, by expressions and by a query.
    assert_eq!(server.run("insert into d.t (k, a) values (1, 11), (3, 30)"), "ok(2)");
    assert_eq!(server.run("insert into d.t (n, k) values (1 + 1, 2), (4.25, 4)"), "ok(2)");
    assert_eq!(server.run("insert into d.t (k, b) select k + 1, concat('s', k) from d.t where k in (2, 4)"), "ok(2)");
    assert_eq!(
        server.run(ALL),
        "k|a|b|wide|n\n1|11|x|170141183460469231731687303715884105727|1.50\n2|20|NULL|-5|2.00\n3|30|s2|NULL|NULL\n4|NULL|none|NULL|4.25\n5|NULL|s4|NULL|NULL"
    );
    // Naming the key alone makes the row and changes nothing else; naming all columns in any order replaces the row.
    assert_eq!(server.run("insert into d.t (k) values (1), (6)"), "ok(2)");
    assert_eq!(server.run("insert into d.t (n, wide, b, a, k) values (null, null, null, null, 2)"), "ok(1)");
    assert_eq!(
        server.run("select * from d.t where k in (1, 2, 6) order by k"),
        "k|a|b|wide|n\n1|11|x|170141183460469231731687303715884105727|1.50\n2|NULL|NULL|NULL|NULL\n6|NULL|none|NULL|NULL"
    );
    // DEFAULT that is named is written.
    assert_eq!(server.run("insert into d.t (k, b) values (1, default)"), "ok(1)");
    assert_eq!(server.run("select b from d.t where k = 1"), "b\nnone");
}

#[test]
fn the_last_of_equal_keys_wins() {
    let server = server();
    server.run("insert into d.t values (1, 10, 'x', 1, 1)");
    assert_eq!(
        server.run("insert into d.t (k, a, n) values (1, 11, 2), (7, 70, 7), (1, 12, null), (7, 71, 8)"),
        "ok(4)"
    );
    assert_eq!(server.run(ALL), "k|a|b|wide|n\n1|12|x|1|NULL\n7|71|none|NULL|8.00");
}

#[test]
fn a_column_without_default_is_needed_for_new_rows_only() {
    let server = Server::start(2);
    server.run(
        "create database d;
         create table d.t (k int, must int not null, at datetime not null default current_timestamp, v int) primary key (k);
         insert into d.t values (1, 100, '2020-01-01 00:00:00', 1)",
    );
    assert_eq!(server.run("insert into d.t (k, v) values (1, 2)"), "ok(1)");
    // A default that is an expression is written each time.
    assert_eq!(server.run("select k, must, at > '2021-01-01' x, v from d.t"), "k|must|x|v\n1|100|1|2");
    let got = server.run("insert into d.t (k, v) values (1, 3), (2, 3)");
    assert!(got.starts_with("error 1364") && got.contains("must"), "{got}");
    assert_eq!(server.run("select k, must, v from d.t"), "k|must|v\n1|100|2");
    // Lenient, it costs only its row.
    let lenient = "insert into d.t (k, v) properties (\"strict_mode\" = \"false\", \"max_filter_ratio\" = \"0.5\") values (1, 4), (2, 4)";
    assert_eq!(server.run(lenient), "ok(1)");
    assert_eq!(server.run("select k, must, v from d.t"), "k|must|v\n1|100|4");
    let got = server.run("insert into d.t (must, v) values (1, 1)");
    assert!(got.starts_with("error 6014") && got.contains("'k'"), "{got}");
}

#[test]
fn switched_off_it_replaces_whole_rows() {
    let server = server();
    server.run("insert into d.t values (1, 10, 'x', 1, 1)");
    assert_eq!(
        server.run("set enable_insert_partial_update = off; insert into d.t (k, a) values (1, 11); select * from d.t"),
        "k|a|b|wide|n\n1|11|none|NULL|NULL"
    );
    // Tables without primary key have no rows to update.
    server.run("create table d.u (k int, a int, b int default '7'); insert into d.u values (1, 1, 1)");
    assert_eq!(server.run("insert into d.u (k) values (1); select * from d.u order by b"), "k|a|b\n1|1|1\n1|NULL|7");
}

#[test]
fn a_statement_with_more_rows_than_it_may_hold_is_one_commit() {
    let server = Server::start(2);
    server.run(
        "create database d;
         create table d.t (k int, long_text varchar(4000), v int) primary key (k) distributed by hash(k) buckets 4;
         create table d.digits (n int);
         insert into d.digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
    );
    let numbers = "from d.digits a, d.digits b, d.digits c, d.digits e";
    assert_eq!(
        server.run(&format!("insert into d.t (k, v) select a.n + 10 * b.n + 100 * c.n + 1000 * e.n, 5 {numbers}")),
        "ok(10000)"
    );
    // 4,000 bytes x 20,000 rows are more than PARTIAL_HELD_BYTES_MAX; every key comes twice.
    let twice = format!("{numbers}, (select 1 m union all select 2) m");
    let filled = format!(
        "insert into d.t (k, long_text) select a.n + 10 * b.n + 100 * c.n + 1000 * e.n, repeat('x', 4000) {twice}"
    );
    assert_eq!(server.run(&filled), "ok(20000)");
    assert_eq!(
        server.run("select count(*) c, sum(v) v, min(length(long_text)) l, max(k) k from d.t"),
        "c|v|l|k\n10000|50000|4000|9999"
    );
}

/// Eight clients, each with a column of its own in the same rows: a full upsert, or a read outside the turns, loses somebody's column.
#[test]
fn eight_clients_with_a_column_each_lose_nothing() {
    const CLIENTS: u16 = 8;
    const ROUNDS: usize = 25;
    let server = Server::start(2);
    let columns: Vec<String> = (0..CLIENTS).map(|n| format!("c{n} int")).collect();
    server.run(&format!(
        "create database d; create table d.t (k int, {}) primary key (k) distributed by hash(k) buckets 3",
        columns.join(", ")
    ));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                server.with(number % 2, move |client| async move {
                    for round in 0..ROUNDS {
                        let sql =
                            format!("insert into d.t (k, c{number}) values (1, {round}), (2, {round}), (3, {round})");
                        assert_eq!(client.run(&sql).await, "ok(3)");
                        // What this client wrote last is still there, whoever wrote the row since.
                        let read = client.run(&format!("select c{number} c from d.t where k = 2")).await;
                        assert_eq!(read, format!("c\n{round}"));
                    }
                });
            });
        }
    });
    let last = vec![(ROUNDS - 1).to_string(); usize::from(CLIENTS)].join("|");
    let got = server.run("select * from d.t order by k");
    assert_eq!(got.lines().skip(1).collect::<Vec<_>>(), (1..=3).map(|k| format!("{k}|{last}")).collect::<Vec<_>>());
}
