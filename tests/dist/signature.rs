//! The sums of the packages and their signature, checked as the README says.

use std::fs;
use std::process::{Command, Stdio};

use crate::made::{made, output};

#[test]
fn the_sums_are_right_and_signed_with_the_key() {
    let Some(made) = made() else { return };
    let checked =
        output(Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&made.here));
    assert_eq!(checked.lines().count() + 2, crate::names(&made.here).len(), "{checked}");

    let scratch = tempfile::tempdir().unwrap();
    let public = fs::read_to_string(made.key.with_extension("pub")).unwrap();
    let signers = scratch.path().join("signers");
    fs::write(&signers, format!("sidecar-init {public}")).unwrap();
    let sums = made.here.join("SHA256SUMS");
    let changed = scratch.path().join("changed");
    fs::write(&changed, fs::read_to_string(&sums).unwrap().replacen('0', "1", 1)).unwrap();
    for (file, is_right) in [(&sums, true), (&changed, false)] {
        let mut verify = Command::new("ssh-keygen");
        verify.args(["-Y", "verify", "-I", "sidecar-init", "-n", "file", "-f"]).arg(&signers);
        verify.arg("-s").arg(made.here.join("SHA256SUMS.sig"));
        let verified = verify
            .stdin(fs::File::open(file).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert_eq!(verified.unwrap().success(), is_right, "{file:?}");
    }
}
