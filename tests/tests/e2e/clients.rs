//! Real clients: PyMySQL, mysql-connector-python, and the mariadb command line where it is installed (the gate installs it).

use std::process::Command;

use starling_tests::server::DataDir;
use starling_tests::{Server, python};

#[test]
fn python_clients() {
    let data = DataDir::new("python");
    let server = Server::start(&data, 2);
    let said = python::script("clients.py", &[server.mysql().port().to_string(), server.http().port().to_string()]);
    assert!(said.trim_end().ends_with("all clients passed"), "{said}");
}

#[test]
fn mariadb_command_line() {
    let data = DataDir::new("mariadb");
    let server = Server::start(&data, 2);
    let run = |sql: &str| {
        let port = server.mysql().port().to_string();
        let output = Command::new("mariadb")
            .args(["--skip-ssl", "-h", "127.0.0.1", "-P", &port, "-u", "root", "--batch", "-e", sql])
            .output();
        output.unwrap_or_else(|error| panic!("mariadb: {error}; apt-get install mariadb-client, or run .ci/run"))
    };
    let output = run("CREATE DATABASE d; USE d; CREATE TABLE t (k INT, v VARCHAR(10)) DUPLICATE KEY(k); \
         INSERT INTO t VALUES (1, 'a'), (2, NULL); SELECT * FROM t ORDER BY k; SHOW TABLES; STATUS;");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1\ta\n2\tNULL\n"), "{text}");
    assert!(!run("SELECT * FROM nowhere.t").status.success());
}

/// MariaDB's library takes error numbers from 5000 to 5029 for its own and shows "malformed packet" in their place.
#[test]
fn the_mariadb_command_line_shows_what_went_wrong() {
    let data = DataDir::new("mariadb-errors");
    let server = Server::start(&data, 2);
    let mut client = server.database("d");
    client.query("CREATE TABLE n (k INT NOT NULL) PRIMARY KEY(k)").unwrap();
    let values: Vec<_> = (0..100).map(|k| format!("({k})")).collect();
    client.query(&format!("INSERT INTO n VALUES {}", values.join(","))).unwrap();
    let port = server.mysql().port().to_string();
    let said = |sql: &str| {
        let arguments = ["--skip-ssl", "-h", "127.0.0.1", "-P", &port, "-u", "root", "-e", sql];
        let output = Command::new("mariadb").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let slow = "SET query_timeout = 1; SELECT COUNT(*) FROM d.n a, d.n b, d.n c, d.n d, d.n e, d.n f \
                WHERE a.k + b.k + c.k + d.k + e.k + f.k = 7";
    let timeout = said(slow);
    assert!(timeout.contains("ERROR 3024") && timeout.contains("query_timeout"), "{timeout}");
    let order = said("CREATE TABLE d.t (a INT, k INT NOT NULL) PRIMARY KEY(k)");
    assert!(order.contains("ERROR ") && !order.contains("malformed"), "{order}");
}
