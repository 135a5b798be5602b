//! A virtual environment with the real Python clients and DuckDB, made once per build directory.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::server::target_dir;

/// What the tests import, pinned.
const PACKAGES: [&str; 3] = ["PyMySQL==1.2.4", "mysql-connector-python==26.10.0", "duckdb==2.0.0"];

/// The interpreter of the environment; made on first use. A panic says what is missing on this machine.
pub fn interpreter() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let home = target_dir().join("starling-tests").join("venv");
        let python = home.join("bin/python");
        let stamp = home.join("packages");
        let wanted = PACKAGES.join("\n");
        if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return python;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES));
        std::fs::write(&stamp, wanted).unwrap_or_else(|error| panic!("{}: {error}", stamp.display()));
        python
    })
}

/// Runs a script of `tests/python`; gives what it printed, or panics with it.
#[track_caller]
pub fn script(name: &str, arguments: &[String]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
    run(Command::new(interpreter()).arg(path).args(arguments))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?} failed:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
