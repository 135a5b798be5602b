//! MySQL clients that behave.

use std::time::Duration;

use starling_net::serve::{ServeError, Server};
use starling_wire::constants::{capability, com, status};
use starling_wire::{ConnectOptions, MysqlClient, Value};

use crate::support::{code, connect, eventually, options, server};

#[test]
fn select_one() {
    let mut client = connect();
    let result = client.query("SELECT 1").unwrap();
    assert_eq!(result.text(), [["1"]]);
    assert_eq!(result.columns[0].name, "1");
    assert_eq!(result.status & status::AUTOCOMMIT, status::AUTOCOMMIT);
    client.quit().unwrap();
}

#[test]
fn greeting_has_what_drivers_parse() {
    let client = connect();
    let greeting = client.greeting();
    assert!(greeting.version.starts_with("8.0."));
    assert!(!greeting.version.contains("MariaDB"));
    assert_eq!(greeting.plugin, "mysql_native_password");
    assert_eq!(greeting.capabilities & capability::SSL, 0);
    assert!(greeting.nonce.iter().all(|byte| *byte != 0));
    assert_ne!(client.connection_id(), connect().connection_id());
}

#[test]
fn only_root_without_password_may_connect() {
    let address = server().mysql_address();
    let refused = |user: &str, password: &str, plugin: &str| {
        let (user, password, plugin) = (user.into(), password.into(), plugin.into());
        let options = ConnectOptions { user, password, plugin, ..ConnectOptions::default() };
        let Err(error) = MysqlClient::connect_with(address, &options) else { panic!("was let in") };
        error.server().unwrap().clone()
    };
    let error = refused("root", "guess", "mysql_native_password");
    assert_eq!((error.code, error.state.as_str()), (1045, "28000"));
    assert_eq!(error.message, "Access denied for user 'root'@'127.0.0.1' (using password: YES)");
    assert_eq!(refused("root", "guess", "caching_sha2_password").code, 1045);
    assert_eq!(refused("root", "guess", "dummy_fallback_auth").code, 1045);
    let error = refused("nobody", "", "mysql_native_password");
    assert!(error.message.ends_with("(using password: NO)"), "{}", error.message);
}

#[test]
fn every_plugin_gets_root_in() {
    for plugin in ["mysql_native_password", "caching_sha2_password", "client_ed25519", ""] {
        let options = ConnectOptions { plugin: plugin.into(), ..ConnectOptions::default() };
        let mut client = MysqlClient::connect_with(server().mysql_address(), &options).unwrap();
        client.ping().unwrap();
    }
}

#[test]
fn an_unknown_database_in_the_handshake_is_refused() {
    let options = ConnectOptions { database: Some("no_such_db".into()), ..ConnectOptions::default() };
    let Err(error) = MysqlClient::connect_with(server().mysql_address(), &options) else { panic!("was let in") };
    let error = error.server().unwrap();
    assert!(matches!(error.code, 1049 | 5501), "{error}");
    assert_eq!(connect().init_db("no_such_db").unwrap_err().code(), Some(error.code));
}

#[test]
fn both_shapes_of_results() {
    for eof in [0, capability::DEPRECATE_EOF] {
        let mut options = ConnectOptions::default();
        options.capabilities = options.capabilities & !capability::DEPRECATE_EOF | eof;
        let mut client = MysqlClient::connect_with(server().mysql_address(), &options).unwrap();
        assert_eq!(client.query("SELECT 1, 'two'").unwrap().text(), [["1", "two"]]);
        let statement = client.prepare("SELECT ?, 'x'").unwrap();
        assert_eq!((statement.parameters, statement.columns.len()), (1, 2));
        assert_eq!(client.execute(&statement, &[Value::Int(7)]).unwrap().text(), [["7", "x"]]);
    }
}

#[test]
fn several_statements_stop_at_the_first_error() {
    let mut client = connect();
    let results = client.query_all("SELECT 1; SELECT 'a;b' ; -- nothing\n SELECT 3;").unwrap();
    let values: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().text()[0][0].clone()).collect();
    assert_eq!(values, ["1", "a;b", "3"]);
    let results = client.query_all("SELECT 1; SELECT * FROM no_such_table; SELECT 3").unwrap();
    assert_eq!(results.len(), 2);
    assert!(results[1].is_err());
    // Without the capability a second statement is an error, and nothing ran.
    let mut options = ConnectOptions::default();
    options.capabilities &= !capability::MULTI_STATEMENTS;
    let mut client = MysqlClient::connect_with(server().mysql_address(), &options).unwrap();
    assert_eq!(code(client.query("SELECT 1; SELECT 2")), 1064);
    client.command(com::SET_OPTION, &[0, 0]).unwrap();
    assert_eq!(client.query_all("SELECT 1; SELECT 2").unwrap().len(), 2);
    client.command(com::SET_OPTION, &[1, 0]).unwrap();
    assert_eq!(code(client.query("SELECT 1; SELECT 2")), 1064);
}

#[test]
fn comments_and_blanks_are_no_error() {
    let mut client = connect();
    for text in ["", "  ", "-- x", "/* x */ ;", ";"] {
        assert!(client.query(text).unwrap().columns.is_empty(), "{text:?}");
    }
}

#[test]
fn statement_errors_leave_the_session_usable() {
    let mut client = connect();
    assert_eq!(code(client.query("SELEC 1")), 1064);
    assert!(matches!(code(client.query("SELECT * FROM no_db.no_table")), 1046 | 1049 | 1146 | 5501 | 5502));
    assert!(matches!(code(client.query("SELECT no_such_column")), 1054 | 5509));
    assert_eq!(client.query("SELECT 2").unwrap().text(), [["2"]]);
    // Not UTF-8.
    client.send(com::QUERY, b"SELECT '\xff\xfe'").unwrap();
    let error = client.read_result().unwrap_err();
    assert_eq!(error.code(), Some(1300), "{error}");
    client.ping().unwrap();
}

#[test]
fn prepared_statements() {
    let mut client = connect();
    let statement = client.prepare("SELECT ? + 1, ?, ?").unwrap();
    assert_eq!(statement.parameters, 3);
    for number in [1, 2, 3] {
        let values = [Value::Int(number), Value::from("text"), Value::Null];
        let result = client.execute(&statement, &values).unwrap();
        assert_eq!(result.text(), [[(number + 1).to_string(), "text".into(), "NULL".into()]]);
    }
    client.command(com::STMT_RESET, &statement.id.to_le_bytes()).unwrap();
    let id = statement.id;
    client.close(statement.clone()).unwrap();
    let error = client.execute(&statement, &[Value::Null, Value::Null, Value::Null]).unwrap_err();
    assert_eq!(error.code(), Some(1243), "{error}");
    assert_eq!(client.command(com::STMT_RESET, &id.to_le_bytes()).unwrap_err().code(), Some(1243));
    assert_eq!(client.prepare("SELEC ?").unwrap_err().code(), Some(1064));
    client.ping().unwrap();
}

#[test]
fn long_data_makes_a_parameter() {
    let mut client = connect();
    let statement = client.prepare("SELECT ?").unwrap();
    for piece in ["long ", "data"] {
        let mut body = statement.id.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(piece.as_bytes());
        client.send(com::STMT_SEND_LONG_DATA, &body).unwrap();
    }
    let mut body = statement.id.to_le_bytes().to_vec();
    body.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1, 252, 0]);
    client.send(com::STMT_EXECUTE, &body).unwrap();
    assert_eq!(client.read_binary_result().unwrap().text(), [["long data"]]);
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut client = connect();
    let statement = client.prepare("SELECT ?").unwrap();
    for number in 0..500i64 {
        if number % 2 == 0 {
            client.queue_query(&format!("SELECT {number}"));
        } else {
            client.queue_execute(&statement, &[Value::Int(number)]);
        }
        client.queue(com::PING, &[]);
    }
    client.flush().unwrap();
    for number in 0..500i64 {
        let result = if number % 2 == 0 { client.read_result() } else { client.read_binary_result() };
        assert_eq!(result.unwrap().text(), [[number.to_string()]]);
        assert!(client.read_result().unwrap().columns.is_empty());
    }
}

#[test]
fn small_commands() {
    let mut client = connect();
    client.ping().unwrap();
    let statistics = String::from_utf8(client.command(com::STATISTICS, &[]).unwrap()).unwrap();
    assert!(statistics.starts_with("Uptime: ") && statistics.contains("  Threads: "), "{statistics}");
    assert_eq!(client.command(com::DEBUG, &[]).unwrap()[0], 0xFE);
    client.reset_connection().unwrap();
    assert_eq!(client.query("SELECT 1").unwrap().text(), [["1"]]);
    for unknown in [0x00, 0x05, 0x12, 0x7F, 0xFF] {
        assert_eq!(client.command(unknown, b"x").unwrap_err().code(), Some(1047), "{unknown:#x}");
    }
    client.ping().unwrap();
}

#[test]
fn reset_forgets_prepared_statements() {
    let mut client = connect();
    let statement = client.prepare("SELECT 1").unwrap();
    client.reset_connection().unwrap();
    assert_eq!(client.execute(&statement, &[]).unwrap_err().code(), Some(1243));
}

#[test]
fn change_user_asks_again() {
    let mut client = connect();
    client.send(com::CHANGE_USER, b"root\0\0\0\x2d\0mysql_native_password\0").unwrap();
    // AuthSwitchRequest, then our (empty) answer, then OK: read by the same paths as in the handshake.
    let mut stream = client.stream().try_clone().unwrap();
    let packet = read_packet(&mut stream);
    assert_eq!((packet[3], packet[4]), (1, 0xFE));
    std::io::Write::write_all(&mut stream, &[0, 0, 0, 2]).unwrap();
    let packet = read_packet(&mut stream);
    assert_eq!((packet[3], packet[4]), (3, 0));
    client.ping().unwrap();
}

fn read_packet(stream: &mut std::net::TcpStream) -> Vec<u8> {
    use std::io::Read;
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet).unwrap();
    let len = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
    packet.resize(4 + len, 0);
    stream.read_exact(&mut packet[4..]).unwrap();
    packet
}

#[test]
fn connections_spread_over_cores() {
    let clients: Vec<_> = (0..8).map(|_| connect()).collect();
    let cores: std::collections::HashSet<u32> = clients.iter().map(|client| client.connection_id() >> 24).collect();
    assert_eq!(cores.len(), 2);
}

#[test]
fn connections_are_counted_and_forgotten() {
    let server = Server::start(options("counted", 1)).unwrap();
    let open = || server.stats().sum(|core| &core.mysql_open);
    let clients: Vec<_> = (0..5).map(|_| MysqlClient::connect(server.mysql_address()).unwrap()).collect();
    assert_eq!(open(), 5);
    drop(clients);
    eventually("five connections closed", || open() == 0);
    server.stop();
}

#[test]
fn a_port_in_use_is_refused_and_a_stop_frees_it() {
    let first = Server::start(options("first", 1)).unwrap();
    let mut second = options("second", 1);
    second.mysql = first.mysql_address();
    let Err(error) = Server::start(second.clone()) else { panic!("two servers on one port") };
    assert!(matches!(error, ServeError::Bind { what: "MySQL", .. }), "{error}");
    let mut client = MysqlClient::connect(first.mysql_address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let report = first.stop();
    assert!(report.errors.is_empty(), "{report:?}");
    // The stop ended the open connection.
    assert!(client.ping().is_err());
    Server::start(second).unwrap().stop();
}

#[test]
fn what_a_session_keeps_is_bounded() {
    let mut client = connect();
    let long = "x".repeat(1 << 20);
    let refused = (0..100).find_map(|_| client.prepare(&format!("SELECT 1 /* {long} */")).err()).unwrap();
    assert!(refused.to_string().contains("PREPARED_BYTES_MAX"), "{refused}");
    let refused = client.query(&format!("PREPARE more FROM 'SELECT 1 /* {long} */'")).unwrap_err();
    assert!(refused.to_string().contains("PREPARED_BYTES_MAX"), "{refused}");
    client.reset_connection().unwrap();
    client.query("PREPARE more FROM 'SELECT 1'").unwrap();
    let refused = (0..100).find_map(|at| client.query(&format!("SET @v{at} = '{long}'")).err()).unwrap();
    assert!(refused.to_string().contains("USER_VARIABLE_BYTES_MAX"), "{refused}");
    // What is there can be replaced, and makes room.
    client.query("SET @v0 = 'short'").unwrap();
    client.query(&format!("SET @more = '{}'", &long[..1000])).unwrap();
}
