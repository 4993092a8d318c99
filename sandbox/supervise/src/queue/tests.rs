//! The queue on a real file system.

use std::time::{Duration, SystemTime};

use super::*;
use crate::proposal::{Request, Timestamp, Verdict};

fn proposal(number: u8) -> Proposal {
    let host = format!("h{number}.example.com").try_into().unwrap();
    Proposal {
        id: ProposalId::from_random([number; 8]),
        time: Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(number.into())),
        from: "192.0.2.1".to_owned(),
        request: Request::PipelockHost { host },
        justification: "because".to_owned().try_into().unwrap(),
    }
}

fn decision(number: u8) -> Decision {
    Decision {
        id: ProposalId::from_random([number; 8]),
        verdict: Verdict::Rejected,
        time: Timestamp(SystemTime::UNIX_EPOCH),
        by: "uid 0".to_owned(),
        note: None,
    }
}

fn queue() -> (tempfile::TempDir, Queue) {
    let directory = tempfile::tempdir().unwrap();
    let queue = Queue::new(directory.path().join("queue"));
    queue.prepare().unwrap();
    (directory, queue)
}

#[test]
fn proposals_are_found_until_and_after_they_are_decided() {
    let (_directory, queue) = queue();
    queue.add(&proposal(2)).unwrap();
    queue.add(&proposal(1)).unwrap();
    let ids: Vec<_> = queue.scan().unwrap().entries.into_iter().map(|e| e.proposal).collect();
    assert_eq!(ids, [proposal(1), proposal(2)]);
    queue.decide(&decision(1)).unwrap();
    assert_eq!(queue.find(&proposal(1).id).unwrap().unwrap().status(), "rejected");
    assert_eq!(queue.scan().unwrap().pending().count(), 1);
    queue.tidy(10).unwrap();
    assert_eq!(queue.scan().unwrap().entries.len(), 1);
    assert_eq!(queue.find(&proposal(1).id).unwrap().unwrap().status(), "rejected");
    assert_eq!(queue.find(&ProposalId::from_random([9; 8])).unwrap(), None);
}

#[test]
fn the_first_decision_counts() {
    let (_directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    queue.decide(&decision(1)).unwrap();
    let mut second = decision(1);
    second.verdict = Verdict::Approved;
    assert!(queue.decide(&second).unwrap_err().contains("decided already"));
    queue.tidy(10).unwrap();
    assert!(queue.decide(&second).unwrap_err().contains("decided already"));
    assert_eq!(queue.find(&proposal(1).id).unwrap().unwrap().status(), "rejected");
}

#[test]
fn a_proposal_never_replaces_another() {
    let (_directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    assert!(queue.add(&proposal(1)).is_err());
    assert_eq!(queue.scan().unwrap().problems, Vec::<String>::new());
}

#[test]
fn the_archive_keeps_the_newest() {
    let (_directory, queue) = queue();
    for number in 0..5 {
        queue.add(&proposal(number)).unwrap();
        queue.decide(&decision(number)).unwrap();
    }
    queue.tidy(2).unwrap();
    let kept: Vec<_> =
        queue.scan_archive().unwrap().entries.into_iter().map(|entry| entry.proposal).collect();
    assert_eq!(kept, [proposal(3), proposal(4)]);
    assert_eq!(std::fs::read_dir(queue.archive()).unwrap().count(), 4);
}

#[test]
fn an_interrupted_move_to_the_archive_goes_on() {
    let (_directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    queue.decide(&decision(1)).unwrap();
    let name = format!("{}{DECISION}", proposal(1).id);
    std::fs::rename(queue.directory.join(&name), queue.archive().join(&name)).unwrap();
    assert_eq!(queue.find(&proposal(1).id).unwrap().unwrap().status(), "rejected");
    queue.tidy(10).unwrap();
    assert_eq!(queue.scan().unwrap().entries.len(), 0);
    assert_eq!(queue.scan_archive().unwrap().entries.len(), 1);
}

#[test]
fn damaged_and_foreign_files_are_told_and_skipped() {
    let (directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    let inside = |name: &str| queue.directory.join(name);
    let good = std::fs::read_to_string(inside(&format!("{}.json", proposal(1).id))).unwrap();
    std::fs::write(inside("notes.txt"), "x").unwrap();
    std::fs::write(inside("aaaaaaaa.json"), "{").unwrap();
    std::fs::write(inside("bbbbbbbc.json"), &good).unwrap();
    std::fs::write(inside("cccccccd.json"), vec![b' '; 300 * 1024]).unwrap();
    std::fs::write(directory.path().join("elsewhere"), good).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), inside("ddddddde.json"))
        .unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(inside("eeeeeeef.json")).status();
    assert!(fifo.unwrap().success());
    std::fs::create_dir(inside("ffffffff.json")).unwrap();
    let scan = queue.scan().unwrap();
    assert_eq!(scan.entries.len(), 1);
    assert_eq!(scan.problems.len(), 7, "{:#?}", scan.problems);
    queue.tidy(10).unwrap();
    queue.prepare().unwrap();
}

#[test]
fn more_files_than_there_can_be_are_not_read() {
    let (_directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    queue.decide(&decision(1)).unwrap();
    // Beside those two and the archive.
    for number in 3..=MAX_FILES {
        std::fs::write(queue.directory.join(format!("stray-{number}")), "").unwrap();
    }
    let problem = queue.scan().unwrap_err();
    assert!(problem.contains("more than 4096 files are in it"), "{problem}");
    assert!(queue.tidy(10).is_err());
    std::fs::remove_file(queue.directory.join("stray-3")).unwrap();
    queue.tidy(10).unwrap();
    assert_eq!(queue.scan_archive().unwrap().entries.len(), 1);
}

#[test]
fn what_a_killed_server_left_half_written_is_cleared_away() {
    let (_directory, queue) = queue();
    let left = queue.directory.join(".tmp-1-aaaaaaaa.json");
    std::fs::write(&left, "{").unwrap();
    assert_eq!(queue.scan().unwrap().problems, Vec::<String>::new());
    queue.prepare().unwrap();
    assert!(!left.exists());
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let (directory, queue) = queue();
    queue.add(&proposal(1)).unwrap();
    let told = "it is a symbolic link, which is not followed";
    for place in [queue.archive(), queue.directory.clone()] {
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&place, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        let before = std::fs::read_dir(&elsewhere).unwrap().count();
        for problem in [
            queue.add(&proposal(2)).unwrap_err(),
            queue.decide(&decision(1)).unwrap_err(),
            queue.scan().unwrap_err(),
            queue.scan_archive().unwrap_err(),
            queue.find(&proposal(1).id).unwrap_err(),
            queue.tidy(1).unwrap_err(),
        ] {
            assert!(problem.starts_with(&format!("{}: {told}", place.display())), "{problem}");
        }
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), before);
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&elsewhere, &place).unwrap();
    }
    assert_eq!(queue.scan().unwrap().entries.len(), 1);
}
