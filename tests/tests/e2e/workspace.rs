//! What the workspace promises: dependencies go one way, and the README's two commands build the same dependencies.

use std::collections::BTreeSet;
use std::process::Command;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

#[test]
fn dependencies_go_one_way() {
    let metadata: Value =
        sonic_rs::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).unwrap();
    let allowed: &[(&str, &[&str])] = &[
        ("starling-hack", &[]),
        ("starling-storage", &["starling-hack"]),
        ("starling-engine", &["starling-hack", "starling-storage"]),
        ("starling-wire", &["starling-hack"]),
        ("starling-net", &["starling-hack", "starling-storage", "starling-engine", "starling-wire"]),
        ("starling-bench", &["starling-hack", "starling-tests", "starling-wire"]),
        ("starling-tests", &["starling-hack", "starling-wire"]),
        ("starling-tools", &["starling-hack", "starling-storage"]),
    ];
    let packages = metadata.get("packages").and_then(|p| p.as_array()).unwrap();
    assert_eq!(packages.len(), allowed.len(), "a new member: say here what it may depend on");
    for package in packages.iter() {
        let name = package.get("name").and_then(|n| n.as_str()).unwrap();
        let may = allowed.iter().find(|(n, _)| *n == name).map(|(_, may)| *may).unwrap_or_default();
        let names = package.get("dependencies").and_then(|d| d.as_array()).unwrap();
        for dependency in names.iter().filter_map(|d| d.get("name").and_then(|n| n.as_str())) {
            let ours = dependency.starts_with("starling-");
            assert!(!ours || may.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn both_readme_commands_build_the_same_dependencies() {
    let run = features(&["-p", "starling-net", "-e", "normal,build"]);
    let test = features(&["--workspace", "-e", "normal,build,dev"]);
    let only_in_run: Vec<_> = run.difference(&test).collect();
    assert!(only_in_run.is_empty(), "cargo test would build these anew; pin them in tools/hack: {only_in_run:#?}");
}

/// `cargo run -p starling-bench` or `cargo test -p starling-storage` must not build arrow again, either. Without proc-macros: those are built for the
/// compiler, with features of their own.
#[test]
fn each_member_alone_builds_the_same_dependencies() {
    let all = features(&["--workspace", "-e", "normal,dev,no-proc-macro"]);
    for member in ["storage", "engine", "net", "wire", "bench", "tests", "tools"] {
        let alone = features(&["-p", &format!("starling-{member}"), "-e", "normal,no-proc-macro"]);
        let only_alone: Vec<_> = alone.difference(&all).collect();
        assert!(only_alone.is_empty(), "-p starling-{member}: pin them in tools/hack: {only_alone:#?}");
    }
}

/// Every dependency with its version and features.
fn features(arguments: &[&str]) -> BTreeSet<String> {
    let mut all = vec!["tree", "--offline", "--prefix", "none", "-f", "{p} {f}"];
    all.extend_from_slice(arguments);
    let outside = |line: &&str| !line.starts_with("starling") && !line.is_empty();
    cargo(&all).lines().filter(outside).map(|line| line.trim_end_matches(" (*)").to_string()).collect()
}
