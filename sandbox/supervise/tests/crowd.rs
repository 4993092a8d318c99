//! Clients that only hold connections: the server stays healthy, and the others are heard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use harness::{Server, World};
use test_support::{HANG, until};
use tokio::net::TcpSocket;

/// What the server allows.
const CONNECTIONS: usize = 256;
const OF_ONE_CLIENT: usize = 64;

/// All of 127.0.0.0/8 is this machine, so a client can have many addresses.
fn connect(from: u8, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(Ipv4Addr::new(127, 0, 0, from)), 0).into()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

fn half_a_request(from: u8, server: &Server) -> TcpStream {
    let mut stream = connect(from, (Ipv4Addr::LOCALHOST, server.port).into());
    stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: supervise\r\n").unwrap();
    stream
}

fn sockets(server: &Server) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Half-sent requests from these addresses, all of which the server has accepted.
fn hold(server: &Server, from: impl Iterator<Item = u8>) -> Vec<TcpStream> {
    let before = sockets(server);
    let held: Vec<TcpStream> = from.map(|address| half_a_request(address, server)).collect();
    let all = before + held.len();
    until("the server takes the connections", || (sockets(server) >= all).then_some(()));
    held
}

/// As many as the server takes.
fn hold_all(server: &Server) -> Vec<TcpStream> {
    let from = |number| u8::try_from(2 + number / OF_ONE_CLIENT).unwrap();
    hold(server, (0..CONNECTIONS).map(from))
}

fn health(from: u8, address: &str) -> std::io::Result<String> {
    let mut stream = connect(from, address.parse().unwrap());
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn half_sent_requests_on_every_connection_leave_it_healthy() {
    let world = World::new();
    let server = world.serve();
    let held = hold_all(&server);
    let answer = health(1, server.health.as_ref().unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("ok, 0 pending\n"), "{answer}");
    drop(held);
}

#[test]
fn term_ends_it_with_every_connection_taken() {
    let mut world = World::new();
    // So long may a request take, its body included.
    world.set("SUPERVISE_WAIT", "1h");
    let server = world.serve();
    let mut held = hold_all(&server);
    for stream in &mut held {
        let rest = "Accept: application/json, text/event-stream\r\n\
                    Content-Type: application/json\r\nContent-Length: 1\r\n\r\n";
        stream.write_all(rest.as_bytes()).unwrap();
    }
    server.stop();
}

#[test]
fn one_client_does_not_keep_the_others_out() {
    let world = World::new();
    let server = world.serve();
    let held = hold(&server, std::iter::repeat_n(2, OF_ONE_CLIENT));
    // Closed unheard.
    let mut surplus = connect(2, (Ipv4Addr::LOCALHOST, server.port).into());
    assert_eq!(surplus.read(&mut [0]).unwrap_or(0), 0);
    let port = format!("127.0.0.1:{}", server.port);
    assert!(health(3, &port).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    // What is given up counts no longer.
    drop(held);
    until("the client is heard again", || {
        health(2, &port).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 OK")).then_some(())
    });
}

#[test]
fn the_health_listener_tells_nothing_else_and_can_be_off() {
    let mut world = World::new();
    let server = world.serve();
    let address = server.health.clone().unwrap();
    let mut stream = connect(1, address.parse().unwrap());
    stream
        .write_all(b"POST /mcp HTTP/1.1\r\nHost: supervise\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // Without keep-alive, so this ends.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    server.stop();
    world.set("SUPERVISE_HEALTH_ADDRESS", "off");
    assert_eq!(world.serve().health, None);
}
