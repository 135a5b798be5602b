//! TPC-H: generated, loaded by Stream Load, all 22 queries compared with DuckDB on the same files (P8).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use starling_tests::server::DataDir;
use starling_tests::{Server, python, stream_load};
use starling_wire::client::MysqlClient;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// Bytes of one load.
const LOAD_BYTES: usize = 8 << 20;

fn scale_factor() -> f64 {
    std::env::var("STARLING_TPCH_SF").ok().and_then(|text| text.parse().ok()).unwrap_or(0.01)
}

#[test]
fn tpch_equals_duckdb() {
    let sf = scale_factor();
    let data = DataDir::new("tpch");
    let files = DataDir::new("tpch-files");
    let server = Server::start(&data, 2);
    let mut sql = server.database("tpch");
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("tpch");
    create_tables(&mut sql, &queries);
    load_all(&server, files.path(), sf);
    let plan = sql.query("EXPLAIN SELECT COUNT(*) FROM lineitem JOIN orders ON l_orderkey = o_orderkey").unwrap();
    check_colocated(&plan.text());
    let arguments = [
        server.mysql().port().to_string(),
        "tpch".into(),
        files.path().display().to_string(),
        queries.display().to_string(),
    ];
    println!("scale factor {sf}\n{}", python::script("tpch.py", &arguments));
}

/// lineitem joins orders where both lie: the only exchange is the one that gathers the result.
fn check_colocated(plan: &[Vec<String>]) {
    let mut text = String::new();
    for row in plan {
        writeln!(text, "{}", row.join(" ")).unwrap();
    }
    let lower = text.to_lowercase();
    assert!(lower.contains("colocate"), "{text}");
    assert!(!lower.contains("broadcast") && !lower.contains("exchange: hash"), "{text}");
}

fn create_tables(sql: &mut MysqlClient, queries: &Path) {
    let text = std::fs::read_to_string(queries.join("tables.sql")).unwrap();
    let code: String = text.lines().filter(|line| !line.starts_with("--")).map(|line| format!("{line}\n")).collect();
    for statement in code.split(';').filter(|statement| !statement.trim().is_empty()) {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn load_all(server: &Server, files: &Path, sf: f64) {
    let mut loader = Loader { server, files };
    loader.table("region", RegionGenerator::new(sf, 1, 1).iter());
    loader.table("nation", NationGenerator::new(sf, 1, 1).iter());
    loader.table("supplier", SupplierGenerator::new(sf, 1, 1).iter());
    loader.table("customer", CustomerGenerator::new(sf, 1, 1).iter());
    loader.table("part", PartGenerator::new(sf, 1, 1).iter());
    loader.table("partsupp", PartSuppGenerator::new(sf, 1, 1).iter());
    loader.table("orders", OrderGenerator::new(sf, 1, 1).iter());
    loader.table("lineitem", LineItemGenerator::new(sf, 1, 1).iter());
}

struct Loader<'s> {
    server: &'s Server,
    files: &'s Path,
}

impl Loader<'_> {
    /// Writes a table's rows to its file for DuckDB and loads the same bytes.
    fn table<R: std::fmt::Display>(&mut self, name: &str, rows: impl Iterator<Item = R>) {
        let mut file = BufWriter::new(File::create(self.files.join(format!("{name}.csv"))).unwrap());
        let (mut batch, mut line, mut count) = (String::new(), String::new(), 0);
        for row in rows {
            line.clear();
            write!(line, "{row}").unwrap();
            // A row of the generator ends with a separator, as dbgen's do.
            batch.push_str(line.trim_end_matches('|'));
            batch.push('\n');
            count += 1;
            if batch.len() > LOAD_BYTES {
                self.load(name, &mut batch, &mut count, &mut file);
            }
        }
        self.load(name, &mut batch, &mut count, &mut file);
    }

    fn load(&self, name: &str, batch: &mut String, count: &mut i64, file: &mut impl Write) {
        file.write_all(batch.as_bytes()).unwrap();
        if *count > 0 {
            let headers = [("column_separator", "|")];
            let reply = stream_load(self.server.http(), &format!("tpch.{name}"), &headers, batch.as_bytes()).unwrap();
            reply.expect_rows(*count);
        }
        batch.clear();
        *count = 0;
    }
}
