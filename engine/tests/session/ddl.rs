//! Databases and tables.

use crate::support::Server;

const SEED: &str = r#"CREATE TABLE orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), amount DECIMAL(10, 2), updated_at DATETIME)
PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 PROPERTIES ("enable_persistent_index" = "true")"#;

#[test]
fn the_seed_table_lives_through_a_restart() {
    let mut server = Server::start(2);
    assert_eq!(server.run(&format!("create database d; use d; {SEED}")), "ok(0)");
    assert_eq!(server.run("show tables from d"), "Tables_in_d\norders");
    let text = server.run("show create table d.orders");
    assert_eq!(
        text,
        "Table|Create Table\norders|CREATE TABLE `orders` (\n  `order_id` varchar(50) NOT NULL COMMENT \"\",\n  `status` varchar(20) NULL COMMENT \"\",\n  \
         `amount` decimal(10, 2) NULL COMMENT \"\",\n  `updated_at` datetime NULL COMMENT \"\"\n) ENGINE=OLAP \nPRIMARY KEY(`order_id`)\n\
         DISTRIBUTED BY HASH(`order_id`) BUCKETS 10 \nPROPERTIES (\n\"compression\" = \"LZ4\",\n\"enable_persistent_index\" = \"true\",\n\
         \"fast_schema_evolution\" = \"true\",\n\"replicated_storage\" = \"true\",\n\"replication_num\" = \"1\"\n);"
    );
    assert_eq!(
        server.run("desc d.orders"),
        "Field|Type|Null|Key|Default|Extra\norder_id|varchar(50)|NO|true|NULL|\nstatus|varchar(20)|YES|false|NULL|\n\
         amount|decimal(10,2)|YES|false|NULL|\nupdated_at|datetime|YES|false|NULL|"
    );
    server.restart(3);
    assert_eq!(server.run("show create table d.orders"), text);
    // What SHOW CREATE TABLE prints makes the table again.
    let again = text.split_once("orders|").unwrap().1.replace("`orders`", "`copy`");
    assert_eq!(server.run(&format!("use d; {again}")), "ok(0)");
    assert_eq!(server.run("show create table d.copy").replace("`copy`", "`orders`").replace("copy|", "orders|"), text);
}

#[test]
fn names_that_are_not_there() {
    let server = Server::start(1);
    server.run("create database d; create table d.t (a int)");
    for (sql, start) in [
        ("use nowhere", "error 5501: "),
        ("select * from t", "error 1046: "),
        ("create table t (a int)", "error 1046: "),
        ("create table x.t (a int)", "error 5501: "),
        ("create table d.t (a int)", "error 1050: "),
        ("create table if not exists d.t (a int)", "ok(0)"),
        ("create database d", "error 1007: "),
        ("create database if not exists d", "ok(0)"),
        ("drop table d.x", "error 5502: "),
        ("drop table if exists d.x", "ok(0)"),
        ("drop database x", "error 5501: "),
        ("drop database if exists x", "ok(0)"),
        ("truncate table d.x", "error 5502: "),
        ("insert into d.x values (1)", "error 5502: "),
        ("insert into d.t (b) values (1)", "error 5509: "),
        ("insert into d.t values (1, 2)", "error 5604: "),
        ("insert into d.t (a, A) values (1, 2)", "error 1110: "),
        ("update d.t set a = 1 where a = 1", "error 1064: "),
        ("drop database information_schema", "error 1064: "),
        ("insert into _starling_.labels values (1)", "error 1064: "),
        ("drop table _starling_.labels", "error 1064: "),
        ("set nonsense = 1", "error 1193: "),
        ("select @@nonsense", "error 1193: "),
        ("kill 99999", "error 1094: "),
    ] {
        let got = server.run(sql);
        assert!(got.starts_with(start), "{sql}: {got}");
    }
}

#[test]
fn truncate_and_drop() {
    let server = Server::start(2);
    server.run(
        "create database d; create table d.t (a int, b int) primary key (a); insert into d.t values (1, 1), (2, 2)",
    );
    assert_eq!(server.run("select count(*) c from d.t"), "c\n2");
    assert_eq!(server.run("truncate table d.t; select count(*) c from d.t"), "c\n0");
    assert_eq!(server.run("insert into d.t values (1, 5); select * from d.t"), "a|b\n1|5");
    assert_eq!(server.run("drop table d.t; show tables from d"), "Tables_in_d");
    assert_eq!(server.run("use d; drop database d; select database()"), "database()\nNULL");
}
