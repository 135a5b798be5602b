//! Stream Loads over HTTP: how a body may come, and what happens when it does not come whole.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use starling_wire::{HttpClient, MysqlClient, PutBody};

use crate::support::{connect, eventually, http};

const ROOT: (&str, &str) = ("Authorization", "Basic cm9vdDo=");
const CSV: (&str, &str) = ("column_separator", ",");

/// A table of its own for one test.
fn table(name: &str) -> (MysqlClient, String) {
    let mut client = connect();
    client.query("CREATE DATABASE IF NOT EXISTS loads").unwrap();
    client
        .query(&format!(
            "CREATE TABLE loads.{name} (k BIGINT NOT NULL, v VARCHAR(1000)) PRIMARY KEY(k) \
         DISTRIBUTED BY HASH(k) BUCKETS 3"
        ))
        .unwrap();
    (client, format!("/api/loads/{name}/_stream_load"))
}

fn rows(from: usize, to: usize) -> Vec<u8> {
    (from..to).flat_map(|k| format!("{k},value {k}\n").into_bytes()).collect()
}

fn count(client: &mut MysqlClient, table: &str) -> i64 {
    let result = client.query(&format!("SELECT COUNT(*) FROM loads.{table}")).unwrap();
    result.scalar().unwrap().to_string().parse().unwrap()
}

fn is_success(answer: &starling_wire::HttpResponse) -> bool {
    answer.status == 200 && answer.text().contains("\"Status\": \"Success\"")
}

#[test]
fn bodies_come_whole_or_in_chunks_expected_or_not_on_one_connection() {
    let (mut client, path) = table("shapes");
    let mut http = http();
    for (index, expect) in [false, true, false, true].into_iter().enumerate() {
        let body = rows(index * 1000, index * 1000 + 1000);
        let answer = if index < 2 {
            http.request("PUT", &path, &[ROOT, CSV], PutBody::Sized(&body), expect)
        } else {
            // Chunks that cut rows anywhere.
            let mut chunks = body.chunks(777).map(<[u8]>::to_vec);
            http.request("PUT", &path, &[ROOT, CSV], PutBody::Chunked(&mut chunks), expect)
        };
        let answer = answer.unwrap();
        assert!(is_success(&answer), "{}", answer.text());
        assert_eq!(count(&mut client, "shapes"), index as i64 * 1000 + 1000);
    }
}

#[test]
fn half_a_body_loads_nothing() {
    let (mut client, path) = table("half");
    let half = |head: &str, body: &[u8]| {
        let http = http();
        let mut stream = http.stream();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\n{}: {}\r\n{}: {}\r\nlabel: half\r\n{head}\r\n\r\n",
            ROOT.0, ROOT.1, CSV.0, CSV.1
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stream.shutdown(Shutdown::Both).unwrap();
    };
    half("Content-Length: 1000000", &rows(0, 5000));
    half("Transfer-Encoding: chunked", b"10\r\n1,a\n2,b\n3,c\n4,d\n\r\n");
    half("Transfer-Encoding: chunked", b"zz\r\n1,a\n");
    // The label is free again: what failed may be sent again with it.
    eventually("the label is free", || {
        let answer = http().put(&path, &[ROOT, CSV, ("label", "half")], b"7,seven\n").unwrap();
        is_success(&answer)
    });
    assert_eq!(count(&mut client, "half"), 1);
}

#[test]
fn a_large_body_is_streamed() {
    let (mut client, path) = table("large");
    let mut next = 0;
    let mut chunks = std::iter::from_fn(|| {
        next += 1000;
        (next <= 400_000).then(|| rows(next - 1000, next))
    });
    let answer = http().request("PUT", &path, &[ROOT, CSV], PutBody::Chunked(&mut chunks), true).unwrap();
    assert!(is_success(&answer), "{}", answer.text());
    assert_eq!(count(&mut client, "large"), 400_000);
    // All of it comes back, too, over either protocol.
    let all = client.query("SELECT k, v FROM loads.large").unwrap();
    assert_eq!(all.rows.len(), 400_000);
    let statement = client.prepare("SELECT k FROM loads.large WHERE k < ?").unwrap();
    assert_eq!(client.execute(&statement, &[300_000.into()]).unwrap().rows.len(), 300_000);
}

#[test]
fn rejected_rows_are_shown() {
    let (mut client, path) = table("rejects");
    let body = b"1,a\nnonsense,b\n3,c\n";
    let answer = http().put(&path, &[ROOT, CSV, ("max_filter_ratio", "0.5")], body).unwrap();
    assert!(is_success(&answer), "{}", answer.text());
    assert_eq!(count(&mut client, "rejects"), 2);
    let text = answer.text();
    let url = text.split('"').find(|part| part.starts_with("http://")).unwrap();
    let shown = http().get(&url[url.find("/api/").unwrap()..]).unwrap();
    assert_eq!(shown.status, 200);
    assert!(shown.text().contains("nonsense"), "{}", shown.text());
    let answer = http().put(&path, &[ROOT, CSV], body).unwrap();
    assert!(answer.text().contains("too many filtered rows"), "{}", answer.text());
}

#[test]
fn names_in_the_path_are_percent_decoded() {
    let (mut client, _) = table("percent");
    let answer = http().put("/api/%6coads/percen%74/_stream_load", &[ROOT, CSV], b"1,a\n").unwrap();
    assert!(is_success(&answer), "{}", answer.text());
    assert_eq!(count(&mut client, "percent"), 1);
    let answer = http().put("/api/loads/%ff/_stream_load", &[ROOT], b"1,a\n").unwrap();
    assert_eq!(answer.status, 400);
}

#[test]
fn many_small_loads_on_many_connections() {
    let (mut client, path) = table("many");
    std::thread::scope(|scope| {
        for worker in 0..8usize {
            let path = &path;
            scope.spawn(move || {
                let mut http: HttpClient = http();
                for load in 0..20 {
                    let key = worker * 1000 + load;
                    let answer = http.put(path, &[ROOT, CSV], format!("{key},x\n").as_bytes()).unwrap();
                    assert!(is_success(&answer), "{}", answer.text());
                }
            });
        }
    });
    assert_eq!(count(&mut client, "many"), 160);
}

#[test]
fn the_tables_of_the_server_are_not_loaded_into() {
    let answer =
        http().put("/api/_starling_/labels/_stream_load", &[ROOT, CSV], b"1,l,2,2026-01-01 00:00:00\n").unwrap();
    assert!(answer.text().contains("the server's own"), "{}", answer.text());
    let mut client = connect();
    let found = client.query("SELECT COUNT(*) FROM _starling_.labels WHERE label = 'l' AND db = 1").unwrap();
    assert_eq!(found.text(), [["0"]]);
}

#[test]
fn the_error_log_of_a_request_without_a_host_is_found() {
    let (_client, path) = table("hostless");
    let body = "x,bad\n";
    let mut stream = http().stream().try_clone().unwrap();
    let head = format!(
        "PUT {path} HTTP/1.0\r\n{}: {}\r\n{}: {}\r\nContent-Length: {}\r\n\r\n{body}",
        ROOT.0,
        ROOT.1,
        CSV.0,
        CSV.1,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let url = format!("http://{}/api/_load_error_log?file=", crate::support::server().http_address());
    assert!(answer.contains(&url), "{answer}");
}
