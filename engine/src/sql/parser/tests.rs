use starling_storage::schema::{ColumnType, DefaultValue, TableKind};

use super::*;
use crate::sql::statement::{Assignment, CreateTable, Distribution, KeyClause, ShowKind};

fn statement(sql: &str) -> Statement {
    parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}")).statement
}

fn error(sql: &str) -> EngineError {
    match parse(sql) {
        Ok(parsed) => panic!("{sql} parsed as {:?}", parsed.statement),
        Err(error) => error,
    }
}

fn create(sql: &str) -> CreateTable {
    match statement(sql) {
        Statement::CreateTable(create) => create,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn the_seed_table_parses() {
    let table = create(
        r#"CREATE TABLE orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), amount DECIMAL(10, 2), updated_at DATETIME)
PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 PROPERTIES ("enable_persistent_index" = "true");"#,
    );
    assert_eq!(table.name, TableName { db: None, table: "orders".to_string() });
    let types: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.ty, c.nullable)).collect();
    assert_eq!(
        types,
        [
            ("order_id", ColumnType::Varchar(50), Some(false)),
            ("status", ColumnType::Varchar(20), None),
            ("amount", ColumnType::Decimal { precision: 10, scale: 2 }, None),
            ("updated_at", ColumnType::DateTime, None),
        ]
    );
    assert_eq!(table.key, Some(KeyClause { kind: TableKind::PrimaryKey, columns: vec!["order_id".to_string()] }));
    assert_eq!(table.distribution, Some(Distribution { columns: vec!["order_id".to_string()], buckets: Some(10) }));
    assert_eq!(table.properties, [("enable_persistent_index".to_string(), "true".to_string())]);
}

#[test]
fn every_clause_of_create_table() {
    let table = create(
        r#"create table if not exists `default_catalog`.`Db`.`T` (
  `k1` tinyint(4) NULL COMMENT "",
  k2 bigint(20) not null default "10" comment 'the "key"',
  v1 decimal64(10, 2) NULL DEFAULT "10.5" COMMENT "",
  v2 largeint(40), v3 boolean default "true", v4 string, v5 char, v6 char(10), v7 varchar(65533), v8 float, v9 double,
  v10 date default '2020-01-01', v11 datetime default current_timestamp(3) not null, v12 datetime default null, v13 int default -5
) ENGINE=OLAP DEFAULT CHARSET=utf8
DUPLICATE KEY(`k1`, `k2`)
COMMENT "text"
DISTRIBUTED BY HASH(`k1`) BUCKETS 3
ORDER BY (`k2`, v2)
PROPERTIES ("replication_num" = "1", "compression" = "LZ4")"#,
    );
    assert!(table.if_not_exists);
    assert_eq!(table.name.to_string(), "Db.T");
    assert_eq!(table.comment, "text");
    assert_eq!(table.order_by, ["k2", "v2"]);
    let column = |name: &str| table.columns.iter().find(|c| c.name == name).unwrap();
    assert_eq!(column("k2").default, Some(DefaultValue::Literal("10".to_string())));
    assert_eq!(column("k2").comment, "the \"key\"");
    assert_eq!(column("v1").ty, ColumnType::Decimal { precision: 10, scale: 2 });
    assert_eq!(column("v2").ty, ColumnType::LargeInt);
    assert_eq!(column("v4").ty, ColumnType::Varchar(65_533));
    assert_eq!(column("v5").ty, ColumnType::Char(1));
    assert_eq!(column("v11").default, Some(DefaultValue::CurrentTimestamp(3)));
    assert_eq!(column("v11").nullable, Some(false));
    assert_eq!(column("v12").default, Some(DefaultValue::Null));
    assert_eq!(column("v13").default, Some(DefaultValue::Literal("-5".to_string())));
    let random = create("create table t (a int) distributed by random buckets 4");
    assert_eq!(random.distribution, Some(Distribution { columns: vec![], buckets: Some(4) }));
    assert_eq!(create("create table t (a int, primary key (a))").key.unwrap().kind, TableKind::PrimaryKey);
}

#[test]
fn refused_with_a_reason() {
    for (sql, part) in [
        ("create table t (a int) partition by range(a) ()", "PARTITION BY is not supported yet"),
        ("create table t (a int sum) aggregate key (a)", "aggregate functions of columns"),
        ("create table t (a int) unique key (a)", "UNIQUE KEY"),
        ("create table t (a decimal(39,2))", "between 1 and 38"),
        ("create table t (a decimal(9,10))", "less than or equal to precision"),
        ("create table t (a varchar(0))", "VARCHAR size must be between 1"),
        ("create table t (a char(256))", "CHAR size must be between 1 and 255"),
        ("create table t (a timestamp)", "use DATETIME"),
        ("create table t (a int unsigned)", "UNSIGNED"),
        ("create table t (a json)", "JSON"),
        ("create table t (a int auto_increment)", "AUTO_INCREMENT"),
        ("create table t (a int) engine=mysql", "Unknown storage engine"),
        ("alter table t add column b int", "ALTER"),
        ("insert overwrite t select 1", "OVERWRITE"),
        ("select * from t where", "Expected"),
        ("select 1 1", "Expected"),
        ("selec 1", "Expected: a statement"),
        ("select 'abc", "Unterminated"),
        ("update t set", "a name"),
        ("show nonsense", "SHOW NONSENSE"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(part), "{sql}: {}", error.message);
        assert!(error.code == 1064 || error.code == 1286, "{sql}: {}", error.code);
    }
}

#[test]
fn syntax_errors_say_where() {
    let error = error("select 1\nfrom t where )");
    assert!(
        error.message.starts_with("Getting syntax error at line 2, column 14. Detail message: "),
        "{}",
        error.message
    );
    assert_eq!(error.state, *b"42000");
}

#[test]
fn long_chains_are_refused_without_recursion() {
    let chain = format!("select * from t where a = 0{}", " or a = 1".repeat(100_000));
    let refused = error(&chain);
    assert_eq!(refused.code, 1064);
    assert!(refused.message.contains("levels deep"), "{}", refused.message);
    let fits = format!("select * from t where a = 0{}", " or a = 1".repeat(900));
    assert!(matches!(statement(&fits), Statement::Query(_)));
    let nested = format!("select {}1{}", "(".repeat(900), ")".repeat(900));
    assert!(matches!(statement(&nested), Statement::Query(_)));
    let list = format!("select * from t where a in (1{})", ",1".repeat(100_000));
    assert!(matches!(statement(&list), Statement::Query(_)));
}

#[test]
fn inserts() {
    let Statement::Insert(insert) = statement("insert into db.t with label l1 (a, `b`) values (1, default), (2, 'x')")
    else {
        panic!("not an insert");
    };
    assert_eq!(insert.label.as_deref(), Some("l1"));
    assert_eq!(insert.columns, ["a", "b"]);
    let InsertSource::Values(rows) = insert.source else { panic!("not values") };
    assert_eq!(rows.len(), 2);
    assert!(matches!(rows[0][1], InsertValue::Default));
    for sql in [
        "insert into t select * from u",
        "insert into t (a) select 1",
        "insert into t (select 1)",
        "insert into t with label x select 1",
        "insert into t with c as (select 1) select * from c",
    ] {
        let Statement::Insert(insert) = statement(sql) else { panic!("{sql}") };
        assert!(matches!(insert.source, InsertSource::Query(_)), "{sql}");
    }
}

#[test]
fn updates_and_deletes() {
    let Statement::Update(update) = statement("update t x set v = v + 1, x.w = default from u where x.k = u.k") else {
        panic!("not an update");
    };
    assert_eq!(update.alias.as_deref(), Some("x"));
    assert_eq!(update.assignments.len(), 2);
    assert_eq!(update.assignments[1].0, "w");
    assert_eq!(update.from.len(), 1);
    let Statement::Delete(delete) = statement("with c as (select 1 as a) delete from t using c where t.a = c.a") else {
        panic!("not a delete");
    };
    assert!(delete.with.is_some());
    assert_eq!(delete.using.len(), 1);
    let Statement::Update(update) = statement("with c as (select 1 as a) update t set v = 1 from c where t.a = c.a")
    else {
        panic!("not an update");
    };
    assert!(update.with.is_some());
}

#[test]
fn what_clients_send_parses() {
    for sql in [
        "",
        ";",
        "/* nothing */",
        "select @@version_comment limit 1",
        "select DATABASE(), USER() limit 1",
        "select @@character_set_client, @@session.sql_mode, @@global.autocommit, @@`version`",
        "SET NAMES utf8mb4",
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_0900_ai_ci'",
        "SET AUTOCOMMIT = 0",
        "SET @@session.autocommit = OFF",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SQL_AUTO_IS_NULL = 0",
        "SET sql_mode=CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'), time_zone = '+00:00', NAMES utf8",
        "set @a = 1, @b := 'x'",
        "/*!40100 SET @@SQL_MODE='' */",
        "/*!40103 SET TIME_ZONE='+00:00' */",
        "SELECT /*!40001 SQL_NO_CACHE */ 1",
        "SHOW /*!40003 GLOBAL */ VARIABLES",
        "show databases",
        "SHOW SCHEMAS LIKE 'a%'",
        "show full tables from `db` like '%x'",
        "SHOW FULL COLUMNS FROM `t` FROM `db` LIKE '%'",
        "show tables where Tables_in_db = 'x'",
        "SHOW VARIABLES WHERE Variable_name IN ('a', 'b')",
        "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
        "SHOW WARNINGS LIMIT 10",
        "SHOW COUNT(*) WARNINGS",
        "show full processlist",
        "SHOW CREATE TABLE `a`.`b`",
        "show create database x",
        "show index from t",
        "SHOW TABLE STATUS FROM db LIKE 't'",
        "SHOW CHARACTER SET",
        "SHOW COLLATION WHERE Charset = 'utf8'",
        "show engines",
        "SHOW PLUGINS",
        "desc t",
        "describe `db`.`t`",
        "explain t",
        "explain select 1",
        "explain analyze select 1",
        "desc (select 1)",
        "use db",
        "use default_catalog.db",
        "KILL QUERY 5",
        "kill 5",
        "kill connection 5",
        "BEGIN",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        "COMMIT",
        "ROLLBACK",
        "LOCK TABLES t READ",
        "UNLOCK TABLES",
        "prepare s from 'select ?'",
        "execute s using @a",
        "deallocate prepare s",
        "select 1 from dual",
        "select a from t for update",
        "select a from t lock in share mode",
        "select a b, c 'label', d \"label2\" from t",
        "select * from t limit 5, 10",
        "select _utf8mb4'x', _binary'y', x'4142', 0x4142",
        "select a <=> b, a div b, a % b, not a = b, !a, a && b, a || b, a xor b",
        "select if(a, b, c), date_add(a, interval 1 day), a + interval 1 hour, extract(year from a)",
        "select cast(a as signed), cast(a as unsigned integer), cast(a as char), convert(a, char), convert(a using utf8)",
        "select cast(a as datetime), cast(a as largeint), cast(a as decimal(10,2)), cast(a as string), cast(a as date)",
        "select group_concat(distinct a order by b separator ';') from t",
        "select count(distinct a, b) from t",
        "select a, row_number() over (partition by b order by c desc) r from t qualify r = 1",
        "select a from t group by rollup(a)",
        "select a from t group by a with rollup",
        "select a from t group by grouping sets ((a), ())",
        "select * from a left semi join b on a.x = b.x",
        "select * from a join b using (x)",
        "select * from (values (1, 2)) as v(a, b)",
        "with recursive c as (select 1 as n union all select n + 1 from c where n < 5) select * from c",
        "select a from t where b like 'x\\_%' and c not like 'y' and d rlike 'z' and e regexp 'q'",
        "select date '2020-01-01', datetime '2020-01-01 00:00:00', timestamp '2020-01-01 00:00:00'",
        "select 'a' 'b'",
        "select 'it''s', 'it\\'s', \"x\"\"y\"",
        "select 1 minus select 2",
        "select 1 except select 2 intersect select 3",
        "select exists (select 1), 1 in (select 2)",
        "select timestampdiff(day, a, b), timestampadd(day, 1, a)",
        "select trim(both 'x' from a), substring(a from 2 for 3), position('a' in b)",
        "select ?",
    ] {
        statement(sql);
    }
}

#[test]
fn some_statements_in_detail() {
    assert!(matches!(statement("kill query 7"), Statement::Kill { query_only: true, id: 7 }));
    assert!(matches!(statement("use default_catalog.db"), Statement::Use(db) if db == "db"));
    let Statement::Show(show) = statement("show full tables from d like 'a%'") else { panic!("not a show") };
    assert_eq!(show.kind, ShowKind::Tables { db: Some("d".to_string()), full: true });
    assert_eq!(show.filter.like.as_deref(), Some("a%"));
    let Statement::Set(set) = statement("set global a = 1, @@session.b = on, @u = 'x', names utf8") else {
        panic!("not a set")
    };
    assert!(matches!(&set[0], Assignment::Variable { global: true, name, .. } if name == "a"));
    assert!(matches!(&set[1], Assignment::Variable { global: false, name, .. } if name == "b"));
    assert!(matches!(&set[2], Assignment::User { name, .. } if name == "u"));
    assert!(matches!(&set[3], Assignment::Names { .. }));
    let parsed = parse("select /*+ SET_VAR(query_timeout = 5, a='b') */ 1 from t where x = ? and y = ?").unwrap();
    assert_eq!(parsed.hints, [("query_timeout".into(), "5".into()), ("a".into(), "b".into())]);
    assert_eq!(parsed.params, 2);
}
