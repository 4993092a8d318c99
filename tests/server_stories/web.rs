//! nginx: started when what it stands before is ready, and restarted while it is busy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Home, Start, nginx};
use test_support::{free_port, until};

/// The backend runs and answers, but is not ready before its gate is open. Until then nobody
/// starts the front.
pub fn readiness_gate(home: Home, start: Start) {
    let (backend, front) = (free_port(), free_port());
    let behind = "root DIR;\nlocation = /ready { if (!-f DIR/gate) { return 503; } return 200; }\n\
                  location = / { return 200 \"from behind\"; }";
    let before = format!("location / {{ proxy_pass http://127.0.0.1:{backend}; }}");
    let behind = nginx(&home, "behind", backend, behind, "");
    let before = nginx(&home, "before", front, &before, "");
    home.write_bundle(&format!(
        "[[service]]\nname = \"front\"\ncommand = {before}\nstop-signal = \"QUIT\"\n\
         requires = [\"backend\"]\nready = {{ http = \"http://127.0.0.1:{front}/\" }}\n\
         [[service]]\nname = \"backend\"\ncommand = {behind}\nstop-signal = \"QUIT\"\n\
         ready = {{ http = \"http://127.0.0.1:{backend}/ready\", period = \"50ms\" }}\n"
    ));
    let world = start(home);
    let says = |status: &str| {
        let url = format!("http://127.0.0.1:{backend}/ready");
        until("the backend answers", || (world.answer(&url) == status).then_some(()));
    };
    says("503");
    assert_eq!(world.status("front")["state"], "waiting");
    assert_eq!(world.answer(&format!("http://127.0.0.1:{front}/")), "000", "nobody is there");
    world.home().write("gate", "");
    world.is_ready("front");
    let text = world.must_run(&["curl", "-fs", &format!("http://127.0.0.1:{front}/")]);
    assert_eq!(text, "from behind");
    assert!(world.init("health").is_some());

    let end = world.stop();
    end.is_in_time(0);
    end.in_order(&[
        "service \"backend\" started",
        "service \"front\" started",
        "service \"front\" is stopping (SIGQUIT)",
        "service \"front\" exited with code 0",
        "service \"backend\" is stopping (SIGQUIT)",
        "service \"backend\" exited with code 0",
    ]);
}

/// The init holds the socket that nginx serves, and nginx ends its downloads before it ends: the
/// restart costs no client anything.
pub fn restart_under_load(home: Home, start: Start) {
    const SIZE: usize = 60_000;
    let port = free_port();
    home.write("file", &"x".repeat(SIZE));
    let server = "location = /up { return 200; }\nroot DIR;\nlimit_rate 20k;";
    // nginx takes listening sockets from whoever was nginx before it, by this variable.
    let command = nginx(&home, "web", port, server, "env NGINX;");
    home.write_bundle(&format!(
        "[[service]]\nname = \"web\"\ncommand = {command}\nstop-signal = \"QUIT\"\n\
         listen = [\"tcp:127.0.0.1:{port}\"]\nenvironment = {{ NGINX = \"3;\" }}\n\
         ready = {{ http = \"http://127.0.0.1:{port}/up\" }}\n"
    ));
    let world = start(home);
    world.is_ready("web");
    let before = world.status("web")["pid"].clone();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (beside, copy) = (world.beside(), world.home().path("copy"));
    std::thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut all = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                all.push(beside.answer(&url("up")));
                answers.fetch_add(1, Ordering::Relaxed);
            }
            all
        });
        let download = scope.spawn(|| {
            beside.must_run(&["curl", "-fsN", "-o", copy.to_str().unwrap(), &url("file")]);
        });
        until("the download has begun", || {
            copy.metadata().is_ok_and(|copy| copy.len() > 0).then_some(())
        });
        assert!(!download.is_finished());
        assert!(world.init("restart web --timeout 60s").is_some());
        let after = answers.load(Ordering::Relaxed) + 3;
        until("the poller goes on", || (answers.load(Ordering::Relaxed) >= after).then_some(()));
        is_over.store(true, Ordering::Relaxed);
        let all = poller.join().unwrap();
        assert!(all.iter().all(|answer| answer == "200"), "{all:?}");
        download.join().unwrap();
        assert_eq!(copy.metadata().unwrap().len(), SIZE as u64);
    });
    assert_ne!(world.status("web")["pid"], before);
    world.stop().is_in_time(0);
}
