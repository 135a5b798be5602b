//! IN (SELECT ...) and EXISTS as values: three-valued, as the standard and DuckDB have it.

use crate::support::Server;

fn server() -> Server {
    let server = Server::start(2);
    server.run(
        "create database d; use d;
         create table t (id int not null, k int, x int) primary key (id) distributed by hash(id) buckets 4;
         create table s (y int not null) distributed by random buckets 3;
         create table n (y bigint) distributed by random buckets 3;
         create table e (y int);
         create table u (k int, y int) distributed by hash(k) buckets 5;
         insert into t values (1, 1, 1), (2, 1, 2), (3, 2, 3), (4, 9, null);
         insert into s values (1), (3), (3);
         insert into n values (1), (null), (1);
         insert into u values (1, 1), (1, null), (2, 7), (2, 3)",
    );
    server
}

/// One column of values for the ids 1 to 4.
fn column(server: &Server, expr: &str) -> String {
    let got = server.run(&format!("use d; select id, {expr} v from t order by id"));
    got.lines().skip(1).map(|line| line.split('|').nth(1).unwrap_or(line)).collect::<Vec<_>>().join(" ")
}

#[test]
fn in_and_exists_are_values() {
    let server = server();
    for (expr, expect) in [
        ("x in (select y from s)", "1 0 1 NULL"),
        ("x not in (select y from s)", "0 1 0 NULL"),
        ("x in (select y from n)", "1 NULL NULL NULL"),
        ("x not in (select y from n)", "0 NULL NULL NULL"),
        ("x in (select y from e)", "0 0 0 0"),
        ("x not in (select y from e)", "1 1 1 1"),
        // id takes no NULL; a constant is no column.
        ("id in (select y from s)", "1 0 1 0"),
        ("id not in (select y from n where y is not null)", "0 1 1 1"),
        ("5 in (select y from s)", "0 0 0 0"),
        ("null in (select y from s)", "NULL NULL NULL NULL"),
        ("null in (select y from e)", "0 0 0 0"),
        // Correlated: the rows of k = 1 are 1 and NULL, of k = 2 they are 7 and 3, of k = 9 there are none.
        ("x in (select y from u where u.k = t.k)", "1 NULL 1 0"),
        ("x not in (select y from u where u.k = t.k)", "0 NULL 0 1"),
        ("exists (select 1 from u where u.k = t.k)", "1 1 1 0"),
        ("not exists (select * from u where u.k = t.k and y > 5)", "1 1 0 1"),
        ("exists (select y from u where u.k = t.k order by y limit 1)", "1 1 1 0"),
        ("exists (select 1 from s limit 0)", "0 0 0 0"),
        ("exists (select k from u group by k having count(*) > 2)", "0 0 0 0"),
        ("exists (select max(y) from e)", "1 1 1 1"),
        ("exists (select y from s union all select y from e)", "1 1 1 1"),
        // Distinct, grouped, limited and joined subqueries; expressions on both sides.
        ("x in (select distinct y from s)", "1 0 1 NULL"),
        ("x in (select max(y) from s)", "0 0 1 NULL"),
        ("x in (select max(y) from e)", "NULL NULL NULL NULL"),
        ("x + 1 in (select y * 2 from s)", "1 0 0 NULL"),
        ("x in (select s.y from s join n on s.y = n.y)", "1 0 0 NULL"),
        ("x in (select y from s order by y desc limit 1)", "0 0 1 NULL"),
        // Within other expressions.
        ("case when x in (select y from s) then 'in' else 'out' end", "in out in out"),
        (
            "case when x not in (select y from n) then 'out' else 'in or unknown' end",
            "in or unknown in or unknown in or unknown in or unknown",
        ),
        ("case x in (select y from s) when true then 1 when false then 2 else 3 end", "1 2 1 3"),
        ("(x in (select y from s)) is null", "0 0 0 1"),
        ("coalesce(x in (select y from n), 0) + 10", "11 10 10 10"),
        ("not (x in (select y from n)) or id = 2", "0 1 NULL NULL"),
        ("x in (select y from s) and id in (select y from n)", "1 0 NULL NULL"),
        ("if(exists (select 1 from e), 'e', 'no')", "no no no no"),
        ("(select count(*) from s where s.y in (select y from n))", "1 1 1 1"),
    ] {
        assert_eq!(column(&server, expr), expect, "{expr}");
    }
}

#[test]
fn under_aggregates_and_groups() {
    let server = server();
    for (sql, expect) in [
        ("select sum(case when x in (select y from s) then 1 else 0 end) a, count(*) c from t", "a|c\n2|4"),
        (
            "select k, sum(case when x not in (select y from s) then id end) a from t group by k order by k",
            "k|a\n1|2\n2|NULL\n9|NULL",
        ),
        (
            "select x in (select y from s) g, count(*) c from t group by x in (select y from s) order by g",
            "g|c\nNULL|1\n0|1\n1|2",
        ),
        ("select x in (select y from s) g, count(*) c from t group by g order by g", "g|c\nNULL|1\n0|1\n1|2"),
        (
            "select max(exists (select 1 from u where u.k = t.k)) m, min(exists (select 1 from u where u.k = t.k)) n from t",
            "m|n\n1|0",
        ),
        (
            "select a.v, count(*) c from (select x in (select y from s) v from t) a group by a.v order by 1",
            "v|c\nNULL|1\n0|1\n1|2",
        ),
        ("select id in (select y from s) v, id in (select y from n) w from t where id = 1", "v|w\n1|1"),
        ("select count(*) c, sum(x) s from t having count(*) in (select y + 1 from s)", "c|s\n4|6"),
    ] {
        assert_eq!(server.run(&format!("use d; {sql}")), expect, "{sql}");
    }
}

#[test]
fn in_conditions_null_is_not_true() {
    let server = server();
    for (condition, expect) in [
        ("x in (select y from s)", "1 3"),
        ("x not in (select y from s)", "2"),
        ("not x in (select y from s)", "2"),
        ("x not in (select y from n)", ""),
        ("not (x not in (select y from n))", "1"),
        ("x not in (select y from e)", "1 2 3 4"),
        ("x not in (select y from n) or id = 3", "3"),
        ("not (x in (select y from n) and id < 9)", ""),
        ("not (x in (select y from n) or id = 4)", ""),
        ("not (x in (select y from s) or id = 4)", "2"),
        ("x in (select y from n) or id = 4", "1 4"),
        ("case when x not in (select y from n) then true else id = 2 end", "2"),
        ("(x in (select y from n)) is null", "2 3 4"),
        ("x not in (select y from u where u.k = t.k)", "4"),
        ("x not in (select y from u where u.k = t.k) or id = 1", "1 4"),
        ("not exists (select 1 from u where u.k = t.k and u.y = t.x) or id = 1", "1 2 4"),
        ("not (exists (select 1 from u where u.k = t.k) and id > 1)", "1 4"),
    ] {
        let got = server.run(&format!("use d; select id from t where {condition} order by id"));
        assert_eq!(got.lines().skip(1).collect::<Vec<_>>().join(" "), expect, "{condition}");
    }
    assert_eq!(
        server.run("use d; update t set k = x in (select y from s) where id < 4; select k from t order by id"),
        "k\n1\n0\n1\n9"
    );
    assert_eq!(
        server.run("use d; delete from t where not (x in (select y from s)) or id = 4; select id from t order by id"),
        "id\n1\n3"
    );
}

#[test]
fn what_is_not_planned_is_named() {
    let server = server();
    for (sql, part) in [
        ("select id from t order by x in (select y from s)", "ORDER BY"),
        ("select x in (select k, y from u) from t", "one column"),
        ("select (select max(y) from s) in (select y from n) from t", "operand"),
    ] {
        let got = server.run(&format!("use d; {sql}"));
        assert!(got.starts_with("error 1064") && got.contains(part), "{sql}: {got}");
    }
}
