//! Joins and random queries against DuckDB on the same rows, on one, two and three cores (P8).

use starling_tests::server::DataDir;
use starling_tests::{Server, python};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Tables of 10 and of 7 buckets, keys of INT and of BIGINT: no two of the joins lie together. The same directory is started with other core counts, so
/// the rows have been through a flush and a recovery, too.
#[test]
fn joins_and_random_queries_equal_duckdb() {
    let data = DataDir::new("differential");
    let (seed, count) = (setting("STARLING_RANDOM_SEED", 1), setting("STARLING_RANDOM_QUERIES", 100));
    for cores in [2, 1, 3] {
        let server = Server::start(&data, cores);
        let port = server.mysql().port().to_string();
        if cores == 2 {
            python::script("random_queries.py", &[port.clone(), "prepare".into()]);
        }
        let seed = (seed + u64::from(cores)).to_string();
        let said = python::script("random_queries.py", &[port, "run".into(), seed, count.to_string()]);
        println!("{cores} cores, {said}");
        assert_eq!(server.stop(), Some(0));
    }
}

/// One sequence of changes, a third of it on each number of cores.
#[test]
fn random_changes_equal_duckdb() {
    let data = DataDir::new("changes");
    let (seed, count) = (setting("STARLING_RANDOM_SEED", 1), setting("STARLING_RANDOM_CHANGES", 80));
    for (turn, cores) in [2, 3, 1].into_iter().enumerate() {
        let server = Server::start(&data, cores);
        let first = turn as u64 * count;
        let arguments = [u64::from(server.mysql().port()), seed, count, first].map(|number| number.to_string());
        println!("{cores} cores, {}", python::script("random_changes.py", &arguments));
        assert_eq!(server.stop(), Some(0));
    }
}
