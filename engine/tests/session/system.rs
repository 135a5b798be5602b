//! SHOW, information_schema, variables, prepared statements, KILL, time limits.

use std::time::{Duration, Instant};

use starling_engine::session::Param;

use crate::support::{Client, Server, show};

#[test]
fn show_and_information_schema() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (a int not null comment 'x', b varchar(7) default 'q') primary key (a); create table d.u (x largeint)");
    for (sql, expect) in [
        ("show databases", "Database\nd\ninformation_schema\nmysql\nsys"),
        ("show databases like 'D%'", "Database\nd"),
        ("use d; show tables", "Tables_in_d\nt\nu"),
        ("show full tables from d like 't'", "Tables_in_d|Table_type\nt|BASE TABLE"),
        ("show tables from d where tables_in_d = 'u'", "Tables_in_d\nu"),
        ("show columns from t from d", "Field|Type|Null|Key|Default|Extra\na|int|NO|PRI|NULL|\nb|varchar(7)|YES||q|"),
        ("show variables like 'autocommit'", "Variable_name|Value\nautocommit|ON"),
        (
            "show variables where variable_name in ('autocommit', 'license')",
            "Variable_name|Value\nautocommit|ON\nlicense|Apache License 2.0",
        ),
        ("show warnings", "Level|Code|Message"),
        (
            "select table_name, table_type from information_schema.tables where table_schema = 'd' order by 1",
            "table_name|table_type\nt|BASE TABLE\nu|BASE TABLE",
        ),
        (
            "select COLUMN_NAME, COLUMN_KEY, DATA_TYPE, COLUMN_SIZE, DECIMAL_DIGITS, ordinal_position from INFORMATION_SCHEMA.COLUMNS where TABLE_SCHEMA = 'd' order by TABLE_NAME, ordinal_position",
            "COLUMN_NAME|COLUMN_KEY|DATA_TYPE|COLUMN_SIZE|DECIMAL_DIGITS|ordinal_position\na|PRI|int|10|0|1\nb||varchar|7|NULL|2\nx|DUP|largeint|39|0|1",
        ),
        (
            "select c.column_name from information_schema.tables t join information_schema.columns c on t.table_name = c.table_name where c.column_comment = 'x'",
            "column_name\na",
        ),
        ("select schema_name from information_schema.schemata where schema_name = 'd'", "schema_name\nd"),
        ("select count(*) c from information_schema.views", "c\n0"),
    ] {
        assert_eq!(server.run(sql), expect, "{sql}");
    }
    assert!(server.run("select * from information_schema.column_statistics").starts_with("error 1109"));
    for sql in [
        "show engines",
        "show collation",
        "show character set",
        "show plugins",
        "show status",
        "show grants",
        "show processlist",
        "show index from d.t",
        "show table status from d",
        "show create database d",
        "show frontends",
        "show backends",
        "show partitions from d.t",
        "show data from d.t",
        "show catalogs",
        "show triggers from d",
        "show procedure status",
        "show open tables",
        "show functions",
        "select * from information_schema.processlist",
        "select * from information_schema.session_variables",
    ] {
        assert!(!server.run(sql).starts_with("error"), "{sql}: {}", server.run(sql));
    }
}

#[test]
fn prepared_statements() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int, s varchar(10)) primary key (k); insert into d.t values (1, 'a'), (2, 'b')");
    let got = server.with(1, |client| async move {
        let session = &client.session;
        let read = session.prepare("select s, k from d.t where k = ?").await.unwrap();
        let labels: Vec<_> = read.columns.iter().map(|c| c.name.clone()).collect();
        assert_eq!((read.params, labels), (1, vec!["s".to_string(), "k".to_string()]));
        let write = session.prepare("insert into d.t values (?, ?)").await.unwrap();
        assert_eq!(write.params, 2);
        let mut got = Vec::new();
        got.push(client.execute(write.id, vec![Param::Int(3), Param::Text("it's".to_string())]).await);
        got.push(client.execute(write.id, vec![Param::Int(-4), Param::Null]).await);
        got.push(client.execute(read.id, vec![Param::Int(3)]).await);
        got.push(client.execute(read.id, vec![Param::Int(9)]).await);
        got.push(client.execute(read.id, vec![]).await);
        let update = session.prepare("update d.t set s = ? where k = ?").await.unwrap();
        got.push(client.execute(update.id, vec![Param::Text("z".to_string()), Param::Int(1)]).await);
        let limit = session.prepare("select k from d.t where k > ? order by k limit ?").await.unwrap();
        got.push(client.execute(limit.id, vec![Param::Int(0), Param::Int(2)]).await);
        got.push(client.execute(limit.id, vec![Param::Int(0), Param::Double(1.0)]).await);
        got.push(client.execute(limit.id, vec![Param::Int(0), Param::Text("1".to_string())]).await);
        let bare = session.prepare("select ?, ?").await.unwrap();
        got.push(client.execute(bare.id, vec![Param::Text("a".to_string()), Param::Int(1)]).await);
        session.close_prepared(read.id);
        got.push(client.execute(read.id, vec![Param::Int(3)]).await);
        got.push(show(session.prepare("select * from d.nothing").await.map(|_| unreachable!())).await);
        got.push(client.run("prepare p from 'select k from d.t where s = ?'").await);
        got.push(client.run("set @s = 'z'").await);
        got.push(client.run("execute p using @s").await);
        got
    });
    let expect = [
        "ok(1)",
        "ok(1)",
        "s|k\nit's|3",
        "s|k",
        "error 1210",
        "ok(1)",
        "k\n1\n2",
        "k\n1",
        "k\n1",
        "?|?\na|1",
        "error 1243: Not Found prepared statement",
        "error 5502",
        "ok(0)",
        "ok(0)",
        "k\n1",
    ];
    for (got, expect) in got.iter().zip(expect) {
        assert!(got == expect || (expect.starts_with("error") && got.starts_with(expect)), "{got} / {expect}");
    }
}

#[test]
fn kill_and_timeout() {
    let server = Server::start(2);
    server.run("create database d; create table d.t (k int)");
    let rows: Vec<String> = (0..3_000).map(|n| format!("({n})")).collect();
    server.run(&format!("insert into d.t values {}", rows.join(",")));
    let heavy = "select count(*) from d.t a, d.t b, d.t c where a.k + b.k + c.k = -1";
    let start = Instant::now();
    let got = server.run(&format!("set query_timeout = 1; {heavy}"));
    assert!(got.starts_with("error 5024"), "{got}");
    assert!(start.elapsed() < Duration::from_secs(10));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let server = &server;
        let running = scope.spawn(move || {
            server.with(1, move |client: Client| async move {
                tell.send(client.session.id()).unwrap();
                client.run(heavy).await
            })
        });
        let id = told.recv().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let list = server.run("show processlist");
        assert!(list.contains(heavy), "{list}");
        assert_eq!(server.run(&format!("kill query {id}")), "ok(0)");
        assert!(running.join().unwrap().starts_with("error 1317"));
    });
}
