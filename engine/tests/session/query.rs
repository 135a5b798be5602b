//! SELECT: names, labels, MySQL's reading of things.

use crate::support::Server;

fn server() -> Server {
    let server = Server::start(2);
    server.run(
        "create database d; use d;
         create table T1 (Id int, Name varchar(20), Amount decimal(10, 2), At date) primary key (Id) distributed by hash(Id) buckets 4;
         create table t2 (id bigint, v double);
         insert into T1 values (1, 'a', 1.5, '2020-01-01'), (2, 'b', 2.25, '2020-02-01'), (3, null, null, null);
         insert into t2 values (1, 0.5), (1, 1.5), (4, 4)",
    );
    server
}

#[test]
fn labels_and_case() {
    let server = server();
    for (sql, expect) in [
        ("select ID, `nAmE`, t1.AT from d.T1 t1 where iD = 1", "ID|nAmE|AT\n1|a|2020-01-01"),
        ("select * from d.T1 where id = 2", "Id|Name|Amount|At\n2|b|2.25|2020-02-01"),
        ("select T1.* from d.T1 where id = 2", "Id|Name|Amount|At\n2|b|2.25|2020-02-01"),
        ("select id + 1, count( * ) from d.T1 where id = 1 group by id", "id + 1|count( * )\n2|1"),
        ("select id a, id A, id 'b c', id \"d\" from d.T1 where id = 1", "a|A|b c|d\n1|1|1|1"),
        ("select id, id from d.T1 where id = 1", "id|id\n1|1"),
        ("select 1, (1), 1 + 1, (1) + 1", "1|(1)|1 + 1|(1) + 1\n1|1|2|2"),
        ("select *, id from d.T1 where id = 1", "Id|Name|Amount|At|id\n1|a|1.50|2020-01-01|1"),
        ("select x.* from (select Id as Foo, name from d.T1) x where foo = 1", "Foo|name\n1|a"),
        ("select a.id, b.v from d.T1 a join d.t2 b on a.id = b.id order by v", "id|v\n1|0.5\n1|1.5"),
        ("select name as x from d.T1 order by X desc limit 1", "x\nb"),
        ("with C as (select id as k from d.T1) select K from C order by k limit 1, 1", "K\n2"),
    ] {
        assert_eq!(server.run(sql), expect, "{sql}");
    }
    for (sql, code) in [
        ("select nothing from d.T1", "error 5509"),
        ("select id from d.T1, d.t2", "error 1052"),
        ("select * from d.t1", "error 5502"),
        ("select nosuch(1)", "error 1064: Getting analyzing error. Detail message: No matching function"),
        ("select 1 +", "error 1064: Getting syntax error"),
        ("select * from (select 1)", "error 1248"),
    ] {
        let got = server.run(sql);
        assert!(got.starts_with(code), "{sql}: {got}");
    }
}

#[test]
fn mysql_semantics() {
    let server = server();
    for (sql, expect) in [
        ("select 1", "1\n1"),
        ("select 1 from dual", "1\n1"),
        ("select \"x\" y, 'it''s' z", "y|z\nx|it's"),
        ("select 1 || 0 a, 1 && 0 b, not 1 = 2 c, 7 div 2 d, 10 div 3 + 1 e", "a|b|c|d|e\n1|0|1|3|4"),
        ("select null <=> null a, 1 <=> null b", "a|b\n1|0"),
        ("select name from d.T1 order by name", "name\nNULL\na\nb"),
        ("select name from d.T1 order by name desc", "name\nb\na\nNULL"),
        ("select id from d.T1 order by id limit 1, 5", "id\n2\n3"),
        ("select id % 2 as g, count(*) c from d.T1 group by g order by g", "g|c\n0|1\n1|2"),
        ("select id k from d.T1 having k > 2", "k\n3"),
        ("select database() a", "a\nNULL"),
        ("use d; select database(), schema()", "database()|schema()\nd|d"),
        (
            "select user(), current_user(), current_user",
            "user()|current_user()|current_user\n'root'@'127.0.0.1'|'root'@'%'|'root'@'%'",
        ),
        (
            "select @@autocommit, @@session.sql_mode, @@global.autocommit",
            "@@autocommit|@@session.sql_mode|@@global.autocommit\n1|ONLY_FULL_GROUP_BY|1",
        ),
        ("set @a = 5, @b = 'x'; select @a + 1 n, @b, @c", "n|@b|@c\n6|x|NULL"),
        ("select 1 union all select 2 order by 1", "1\n1\n2"),
        ("select exists (select 1 from d.T1 where id = 9) e", "e\n0"),
        ("select sum(amount) s, avg(id) a from d.T1", "s|a\n3.75|2"),
        ("select /*+ SET_VAR(sql_select_limit = 1) */ id from d.T1 order by id", "id\n1"),
    ] {
        assert_eq!(server.run(sql), expect, "{sql}");
    }
}

#[test]
fn explain_shows_fragments() {
    let server = server();
    let plan = server.run("explain select count(*) from d.T1 a join d.t2 b on a.id = b.id");
    assert!(plan.starts_with("Explain String\n") && plan.contains("FRAGMENT"), "{plan}");
    let plan = server.run("explain analyze select count(*) from d.T1");
    assert!(plan.contains("rows"), "{plan}");
    let plan = server.run("explain update d.T1 set name = 'x' where id = 1");
    assert!(plan.contains("FRAGMENT"), "{plan}");
}

#[test]
fn long_chains_cost_an_error_and_nothing_else() {
    let server = server();
    let chain = format!("select * from d.T1 where id = 0{}", " or id = 1".repeat(100_000));
    assert!(server.run(&chain).starts_with("error 1064"));
    let fits = format!("select id from d.T1 where id = 0{}", " or id = 1".repeat(900));
    assert_eq!(server.run(&fits), "id\n1");
}

/// Depth is bounded by one number for every kind of statement; each of these is copied, walked and dropped on a core.
#[test]
fn every_statement_may_be_as_deep_as_a_query() {
    let server = server();
    let deep = |levels: usize| {
        let chain = |first: &str, more: &str| format!("{first}{}", more.repeat(levels));
        // DataFusion types arithmetic in time of the third power of its depth.
        let sum =
            |first: &str, more: &str| format!("{first}{}", more.repeat(if levels > 1_000 { levels } else { 160 }));
        let nested =
            |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
        vec![
            format!("select id from d.T1 where {}", chain("id = 1", " or id = 1")),
            format!("update d.T1 set name = 'x' where {}", chain("id = 1", " or id = 1")),
            format!("update d.T1 set amount = {} where id = 1", sum("1", " + 0")),
            format!("delete from d.T1 where {}", chain("id = 7", " and id = 7")),
            format!("insert into d.t2 values (1, {})", sum("1", " + 0")),
            format!("insert into d.t2 values (1, {})", nested("(", "1", ")")),
            format!("insert into d.t2 select 1, {}", nested("(", "1", ")")),
            format!("insert into d.t2 (id) values ({})", nested("not ", "1", "")),
            format!("set @x = {}", sum("1", " + 0")),
            format!("explain update d.T1 set name = 'x' where {}", chain("id = 1", " or id = 1")),
            format!("show tables from d where {}", chain("Tables_in_d = 'T1'", " or Tables_in_d = 'T1'")),
            format!("delete from d.t2 where {}", chain("id = 70", " and id = 70")),
            format!("select {}", nested("not ", "1", "")),
        ]
    };
    for sql in deep(980) {
        let got = server.run(&sql);
        assert!(!got.starts_with("error"), "{}: {}", &sql[..40], &got[..got.len().min(200)]);
    }
    for sql in deep(1_100) {
        let got = server.run(&sql);
        assert!(got.starts_with("error 1064") && got.contains("limit of 1000"), "{}: {got}", &sql[..40]);
    }
    server.with(1, |client| async move {
        for sql in [
            format!("select count(*) c from d.T1 where id = ?{}", " or id = ?".repeat(200)),
            format!("update d.T1 set name = 'y' where id = ?{}", " or id = ?".repeat(200)),
            format!("insert into d.t2 values (1, ?{})", " + ?".repeat(160)),
        ] {
            let prepared = client.session.prepare(&sql).await.unwrap();
            let params = vec![starling_engine::session::Param::Int(1); prepared.params];
            let got = client.execute(prepared.id, params).await;
            assert!(got == "c\n1" || got == "ok(1)", "{}: {got}", &sql[..40]);
        }
    });
    // Deepest in stack for each level: a query in a query.
    for levels in [4, 10] {
        let sql = format!("{}1{}", "select (".repeat(levels), ")".repeat(levels));
        let id = format!("update d.T1 set amount = ({sql}) where id = 1");
        let got = (server.run(&sql), server.run(&id));
        assert!(got.0.ends_with("\n1") && got.1 == "ok(1)", "{levels}: {got:?}");
    }
    assert_eq!(server.run("select id from d.T1 where id = 1"), "id\n1");
}
