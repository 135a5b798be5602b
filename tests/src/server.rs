//! A server process. Dropping it kills it and, unless it was told to keep them, removes its files.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use starling_wire::client::MysqlClient;

/// A start that takes longer has failed.
const START_MAX: Duration = Duration::from_secs(60);

/// Where a server keeps its files; removed when the last test is done with it.
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// A new empty directory beside the build (a real file system, not a tmpfs).
    pub fn new(name: &str) -> DataDir {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = target_dir().join("starling-tests").join(format!("{name}-{}-{count}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        DataDir { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // What a failed test leaves behind is for looking at.
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    mysql: SocketAddr,
    http: SocketAddr,
}

impl Server {
    /// Starts one and waits until it serves.
    #[track_caller]
    pub fn start(data: &DataDir, cores: u16) -> Server {
        Server::start_with(data, cores, &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts one with more arguments. An error is what it said.
    pub fn start_with(data: &DataDir, cores: u16, arguments: &[&str]) -> Result<Server, String> {
        let log = data.path.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log).map_err(|e| e.to_string())?;
        let mut child = Command::new(binary())
            .arg("serve")
            .args(defaults(cores, arguments))
            .arg("--data")
            .arg(&data.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary().display()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        match ready(stdout) {
            Some((mysql, http)) => Ok(Server { child, mysql, http }),
            None => {
                drop(child.kill());
                drop(child.wait());
                Err(format!("the server did not start: {}", std::fs::read_to_string(&log).unwrap_or_default()))
            }
        }
    }

    /// Its MySQL address.
    pub fn mysql(&self) -> SocketAddr {
        self.mysql
    }

    /// Its HTTP address.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection as root.
    #[track_caller]
    pub fn connect(&self) -> MysqlClient {
        MysqlClient::connect(self.mysql).unwrap_or_else(|error| panic!("connect: {error}"))
    }

    /// A connection with a database, made when it is not there.
    #[track_caller]
    pub fn database(&self, name: &str) -> MysqlClient {
        let mut client = self.connect();
        for sql in [format!("CREATE DATABASE IF NOT EXISTS {name}"), format!("USE {name}")] {
            client.query(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        client
    }

    /// kill -9.
    pub fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().ok().and_then(|status| status.code())
    }

    #[expect(unsafe_code, reason = "std has no way to send SIGTERM")]
    fn terminate(&self) {
        // SAFETY: kill takes no pointers, and the child is not reaped yet, so the id is its.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What is not said otherwise: free ports, a little memory.
fn defaults(cores: u16, arguments: &[&str]) -> Vec<String> {
    let all = [
        ("--mysql", "127.0.0.1:0".to_string()),
        ("--http", "127.0.0.1:0".to_string()),
        ("--memory", "2G".to_string()),
        ("--cores", cores.to_string()),
    ];
    let free = all.into_iter().filter(|(name, _)| !arguments.contains(name));
    free.flat_map(|(name, value)| [name.to_string(), value]).collect()
}

/// Reads `ready: mysql ADDR http ADDR`.
fn ready(stdout: std::process::ChildStdout) -> Option<(SocketAddr, SocketAddr)> {
    let started = Instant::now();
    let mut lines = BufReader::new(stdout).lines();
    while let Some(Ok(line)) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["ready:", "mysql", mysql, "http", http] = words[..] {
            return Some((mysql.parse().ok()?, http.parse().ok()?));
        }
        if started.elapsed() > START_MAX {
            return None;
        }
    }
    None
}

/// The directory of the build that this test is part of.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let directory = exe.parent().unwrap_or(Path::new("."));
    // A test is .../release/deps/e2e-0123, the bench .../release/starling-bench.
    let of_test = directory.file_name().is_some_and(|name| name == "deps");
    if of_test { directory.parent().unwrap_or(directory) } else { directory }.to_path_buf()
}

/// The server's binary, built with the tests.
pub fn binary() -> PathBuf {
    target_dir().join("starling")
}
