//! Plays a service where a shell can't: `actor STEP...` takes one step after the other.
//!
//! | step | what it does |
//! |---|---|
//! | `say=TEXT` | prints it |
//! | `notify=TEXT` | sends it to `NOTIFY_SOCKET` |
//! | `http=PORT` | from now on answers each connection with status 200 |
//! | `beat=MILLISECONDS` | from now on says `WATCHDOG=1` that often, for ever |
//! | `wait` | does nothing, for ever |

#![allow(clippy::unwrap_used, clippy::panic)] // as in any test

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::event::{Timespec, poll};

fn main() {
    for step in std::env::args().skip(1) {
        take(&step);
    }
}

fn take(step: &str) {
    let (verb, what) = step.split_once('=').unwrap_or((step, ""));
    match verb {
        "say" => {
            let mut stdout = std::io::stdout();
            writeln!(stdout, "{what}").and_then(|()| stdout.flush()).unwrap();
        }
        "notify" => notify(what),
        "http" => serve(TcpListener::bind(("127.0.0.1", what.parse().unwrap())).unwrap()),
        "beat" => loop {
            notify("WATCHDOG=1");
            rest(Some(Duration::from_millis(what.parse().unwrap())));
        },
        "wait" => rest(None),
        _ => panic!("no such step: {step}"),
    }
}

fn rest(time: Option<Duration>) {
    let time = time.map(|time| Timespec::try_from(time).unwrap());
    poll(&mut [], time.as_ref()).unwrap();
}

fn notify(text: &str) {
    let name = std::env::var("NOTIFY_SOCKET").unwrap();
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to_addr(text.as_bytes(), &address.unwrap()).unwrap();
}

fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            // A client that goes away is none of its concern.
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
}
