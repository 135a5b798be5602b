//! Prepared statements: what a parameter means does not depend on whether its plan was kept.

use starling_engine::session::{Outcome, Param};

use crate::support::{Client, Server};

fn server() -> Server {
    let server = Server::start(2);
    server.run(
        "create database d; use d;
         create table t (k int, tiny tinyint, big bigint, wide largeint, price decimal(10, 2), x double, day date, at datetime, name varchar(20), flag boolean)
           primary key (k) distributed by hash(k) buckets 4;
         create table u (k bigint, v int);
         insert into t values
           (1, 1, 10, 100, 1.50, 0.5, '2020-01-01', '2020-01-01 10:00:00', 'a', true),
           (2, 2, 20, 200, 2.25, 1.5, '2020-02-01', '2020-02-01 00:00:00', 'b', false),
           (3, 127, 9223372036854775807, 170141183460469231731687303715884105727, 99.99, -1, '2021-01-01', '2021-01-01 10:00:00', '3', true),
           (4, null, null, null, null, null, null, null, null, null),
           (5, -128, -5, -7, -2.25, 0, '1999-12-31', '1999-12-31 23:59:59', '', false);
         insert into u values (1, 1), (1, 2), (3, 5), (null, 7)",
    );
    server
}

fn text(value: &str) -> Param {
    Param::Text(value.to_string())
}

/// The literal that a user would write.
fn literal(param: &Param) -> String {
    match param {
        Param::Null => "NULL".to_string(),
        Param::Int(value) => value.to_string(),
        Param::UInt(value) => value.to_string(),
        Param::Double(value) => format!("{value:e}"),
        Param::Text(value) => format!("'{value}'"),
        Param::Date { year, month, day } => format!("'{year:04}-{month:02}-{day:02}'"),
        other => panic!("{other:?}"),
    }
}

fn in_text(sql: &str, params: &[Param]) -> String {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap().to_string();
    for (part, param) in parts.zip(params) {
        text.push_str(&literal(param));
        text.push_str(part);
    }
    text
}

async fn plans(client: &Client) -> u64 {
    let reports = starling_engine::metrics::reports(client.session.core()).await.unwrap();
    reports.iter().map(|report| report.counters.plans).sum()
}

fn rows_of(text: &str) -> String {
    text.split_once('\n').map(|(_, rows)| rows.to_string()).unwrap_or_default()
}

/// Every value after every other one, so that each runs by the plans that the others left: the same rows as with literals in the text.
#[test]
fn a_kept_plan_means_what_the_literals_mean() {
    let server = server();
    let values = || {
        vec![
            Param::Int(1),
            Param::Int(-128),
            Param::Int(127),
            Param::Int(300),
            Param::Int(20_200_101),
            Param::UInt(u64::MAX),
            Param::Double(1.5),
            Param::Double(2.0),
            Param::Null,
            text("1"),
            text("1.5"),
            text("2.250"),
            text("a"),
            text(""),
            text(" 3 "),
            text("2020-01-01"),
            text("2020-01-01 10:00:00"),
            text("20200201"),
            text("170141183460469231731687303715884105727"),
            Param::Date { year: 2020, month: 2, day: 1 },
        ]
    };
    server.with(1, move |client| async move {
        client.run("use d").await;
        for column in ["k", "tiny", "big", "wide", "price", "x", "day", "at", "name", "flag"] {
            for condition in ["{} >= ?", "? > {}", "{} = ?", "not ({} <> ? or k > 3)", "{} in (?, 2)", "{} + 1 > ?"] {
                let sql = format!("select k from t where {} order by k", condition.replace("{}", column));
                let id = client.session.prepare(&sql).await.unwrap().id;
                for value in values() {
                    let written = in_text(&sql, std::slice::from_ref(&value));
                    let expect = client.run(&written).await;
                    for _ in 0..2 {
                        assert_eq!(client.execute(id, vec![value.clone()]).await, expect, "{written}");
                    }
                }
                client.session.close_prepared(id);
            }
        }
    });
}

#[test]
fn parameters_anywhere() {
    let server = server();
    server.with(0, |client| async move {
        client.run("use d").await;
        for (sql, sets) in [
            (
                "select k, ? + k p from t where k between ? and ? order by k limit ?",
                vec![
                    vec![Param::Int(1), Param::Int(1), Param::Int(3), Param::Int(2)],
                    vec![Param::Int(1000), Param::Int(2), Param::Int(5), Param::Int(10)],
                    vec![text("5"), Param::Int(2), Param::Int(5), Param::Int(1)],
                ],
            ),
            (
                "select t.k, u.v from t join u on t.k = u.k where u.v > ? and t.name = ? order by 2",
                vec![vec![Param::Int(0), text("a")], vec![Param::Int(1), text("a")], vec![Param::Int(0), text("3")]],
            ),
            (
                "select count(*) c from t where k in (select k from u where v >= ?) or big > (select max(v) from u where v < ?)",
                vec![vec![Param::Int(1), Param::Int(9)], vec![Param::Int(5), Param::Int(2)], vec![Param::Int(6), Param::Int(0)]],
            ),
            (
                "select k from t where k = (select min(v) from u where u.v = t.k and u.v > ?) order by k",
                vec![vec![Param::Int(0)], vec![Param::Int(1)], vec![Param::Int(100)]],
            ),
            (
                "select g, count(*) c from (select k % 2 g, price p from t where at >= ?) x where p > ? group by g having count(*) > ? order by g",
                vec![
                    vec![text("2020-01-01"), Param::Int(1), Param::Int(0)],
                    vec![text("2020-01-15"), Param::Int(1), Param::Int(0)],
                    vec![text("2020-01-01"), text("2.25"), Param::Int(0)],
                    vec![text("not a date"), Param::Int(1), Param::Int(0)],
                ],
            ),
            ("select 1 x from t where ? = k and k = ?", vec![vec![Param::Int(1), Param::Int(1)], vec![Param::Int(1), Param::Int(2)]]),
            (
                "with c as (select k from t where k > ?) select count(*) n from c a join c b on a.k = b.k",
                vec![vec![Param::Int(0)], vec![Param::Int(2)], vec![Param::Int(4)]],
            ),
        ] {
            let id = client.session.prepare(sql).await.unwrap().id;
            for params in sets.iter().chain(&sets) {
                let expect = client.run(&in_text(sql, params)).await;
                assert_eq!(client.execute(id, params.clone()).await, expect, "{}", in_text(sql, params));
            }
        }
    });
}

#[test]
fn a_dashboard_query_is_planned_once() {
    let server = server();
    server.with(0, |client| async move {
        client.run("use d").await;
        let sql =
            "select flag, count(*) n, sum(price) s from t where at >= ? and k < ? group by flag order by 1 limit ?";
        let id = client.session.prepare(sql).await.unwrap().id;
        let run = |at: &str, k: i64, limit: i64| client.execute(id, vec![text(at), Param::Int(k), Param::Int(limit)]);
        assert_eq!(rows_of(&run("2020-01-01 00:00:00", 10, 5).await), "0|1|2.25\n1|2|101.49");
        let before = plans(&client).await;
        assert_eq!(rows_of(&run("2020-06-01", 10, 5).await), "1|1|99.99");
        assert_eq!(rows_of(&run("1990-01-01", 2, 5).await), "1|1|1.50");
        assert_eq!(plans(&client).await, before, "other values run by the same plan");
        // Another shape is another plan, which is kept as well.
        assert_eq!(rows_of(&run("1990-01-01", 10, 1).await), "0|2|0.00");
        assert_eq!(rows_of(&run("2020-01-01", 10, 1).await), "0|1|2.25");
        assert_eq!(plans(&client).await, before + 1);
        // Another connection that prepares the same text finds the plan.
        let other = Client::open(client.session.core()).await;
        other.run("use d").await;
        let same = other.session.prepare(sql).await.unwrap().id;
        let params = vec![text("2020-06-01"), Param::Int(10), Param::Int(5)];
        assert_eq!(rows_of(&other.execute(same, params).await), "1|1|99.99");
        assert_eq!(plans(&client).await, before + 1);
        // A change of the catalog makes new plans.
        client.run("drop table u; truncate table t").await;
        client.run("truncate table t").await;
        client.run("insert into t (k, price, at, flag) values (1, 7, '2030-01-01', true)").await;
        assert_eq!(rows_of(&run("2020-06-01", 10, 5).await), "1|1|7.00");
    });
}

#[test]
fn limits_take_whole_numbers_of_any_type() {
    let server = server();
    server.with(0, |client| async move {
        client.run("use d").await;
        let id = client.session.prepare("select k from t order by k limit ? offset ?").await.unwrap().id;
        for (limit, offset, expect) in [
            (Param::Int(2), Param::Int(1), "k\n2\n3"),
            (Param::Double(2.0), Param::Double(1.0), "k\n2\n3"),
            (Param::Float(1.0), Param::UInt(4), "k\n5"),
            (text("2"), text("3"), "k\n4\n5"),
            (Param::Int(0), Param::Int(0), "k"),
        ] {
            assert_eq!(client.execute(id, vec![limit, offset]).await, expect);
        }
        for wrong in
            [Param::Double(1.5), Param::Int(-1), text("two"), text("1.5"), Param::Null, Param::Double(f64::NAN)]
        {
            for params in [vec![wrong.clone(), Param::Int(0)], vec![Param::Int(1), wrong.clone()]] {
                let got = client.execute(id, params).await;
                assert!(got.starts_with("error 1064") && got.contains("LIMIT"), "{wrong:?}: {got}");
            }
        }
        let comma = client.session.prepare("select k from t order by k limit ?, ?").await.unwrap().id;
        assert_eq!(client.execute(comma, vec![Param::Double(3.0), text("1")]).await, "k\n4");
        let nested = client.session.prepare("select count(*) n from (select k from t limit ?) x").await.unwrap().id;
        assert_eq!(client.execute(nested, vec![Param::Double(3.0)]).await, "n\n3");
        let insert = client.session.prepare("insert into u select k, k from t order by k limit ?").await.unwrap().id;
        assert_eq!(client.execute(insert, vec![Param::Double(2.0)]).await, "ok(2)");
    });
}

#[test]
fn result_columns_of_parameters_are_named_by_their_mark() {
    let server = server();
    server.with(0, |client| async move {
        let prepared = client.session.prepare("select ?, ?, ? as x, ? + 1").await.unwrap();
        let names = |columns: &[starling_engine::session::ColumnMeta]| {
            columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (prepared.params, names(&prepared.columns)),
            (4, vec!["?".into(), "?".into(), "x".into(), "? + 1".into()])
        );
        let params = vec![Param::Int(1), text("a"), Param::Double(1.5), Param::Int(2)];
        assert_eq!(client.execute(prepared.id, params.clone()).await, "?|?|x|? + 1\n1|a|1.5|3");
        // Equal values are two columns still.
        let params = vec![Param::Int(1), Param::Int(1), Param::Int(1), Param::Int(1)];
        assert_eq!(client.execute(prepared.id, params).await, "?|?|x|? + 1\n1|1|1|2");
        let Outcome::Rows(rows) = client.session.execute_prepared(prepared.id, vec![text("a"); 4]).await.unwrap()
        else {
            panic!("rows");
        };
        assert_eq!(names(&rows.columns), ["?", "?", "x", "? + 1"]);
    });
}
