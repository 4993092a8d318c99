//! The published clients of other people drive a round of propose, approve and retry: the Python
//! package `mcp`, and the command line of the MCP inspector from npm.
//!
//! `MCP_PYTHON` names a Python that has `mcp`, `MCP_INSPECTOR` an executable `mcp-inspector`.
//! Without them the pinned versions are installed below cargo's target directory, once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Said, Server, World};
use serde_json::Value;
use test_support::notices::skip;

const MCP: &str = "mcp==2.3.0";
const INSPECTOR: &str = "@modelcontextprotocol/inspector@2.12.0";

/// Below the target directory, so that it is kept from run to run and never committed.
fn cache(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn runs(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Err(error) => Err(format!("{command:?}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// A Python that has the client.
fn python() -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("MCP_PYTHON") {
        return Ok(python.into());
    }
    let home = cache("mcp-python");
    let (python, done) = (home.join("bin/python"), home.join("installed"));
    if !done.exists() {
        runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        runs(Command::new(&python).args(["-m", "pip", "install", "--quiet", MCP]))?;
        std::fs::write(done, MCP).unwrap();
    }
    Ok(python)
}

/// The inspector.
fn inspector() -> Result<PathBuf, String> {
    if let Some(inspector) = std::env::var_os("MCP_INSPECTOR") {
        return Ok(inspector.into());
    }
    let home = cache("mcp-inspector");
    let done = home.join("installed");
    if !done.exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
        runs(npm.arg(&home).arg(INSPECTOR))?;
        std::fs::write(done, INSPECTOR).unwrap();
    }
    Ok(home.join("node_modules/.bin/mcp-inspector"))
}

/// Lists the tools, proposes, has the operator approve, and asks again; prints a line for each.
const PYTHON_ROUND: &str = r#"
import asyncio, subprocess, sys
from mcp import Client

url, supervise = sys.argv[1:]

async def main():
    async with Client(url) as client:
        tools = await client.list_tools()
        print("tools", len(tools.tools))
        arguments = {"host": "api.example.com", "paths": ["/v1/"], "methods": ["GET"],
                     "justification": "the build needs it"}
        pending = await client.call_tool("propose_egress_route", arguments)
        print("proposed", pending.structured_content["status"])
        id = pending.structured_content["id"]
        subprocess.run([supervise, "approve", id, "--yes"], check=True, stdout=subprocess.DEVNULL)
        status = await client.call_tool("proposal_status", {"id": id})
        print("asked", status.structured_content["status"])
        again = await client.call_tool("propose_egress_route", arguments)
        print("again", again.is_error, again.content[0].text)
        allowed = await client.call_tool("list_allowed", {})
        print("allowed", allowed.structured_content["egress_routes"][0]["host"])

asyncio.run(main())
"#;

#[test]
fn the_python_client_goes_through_a_round() {
    let python = match python() {
        Ok(python) => python,
        Err(problem) => return skip(&format!("the Python client {MCP}: {problem}")),
    };
    let world = World::new();
    let server = world.serve();
    let mut command = Command::new(python);
    command.args(["-c", PYTHON_ROUND, &server.url("/"), env!("CARGO_BIN_EXE_supervise")]);
    let said = Said::of(command.envs(world.variables.iter().cloned()).output().unwrap());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(
        said.stdout,
        "tools 7\nproposed pending\nasked approved\nagain True this is allowed already: GET \
         api.example.com /v1/\nallowed api.example.com\n"
    );
}

/// One call of a tool by the inspector: its structured content.
fn inspect(inspector: &Path, server: &Server, tool: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(inspector);
    command.args(["--cli", &server.url("/mcp"), "--transport", "http"]);
    command.args(["--method", "tools/call", "--tool-name", tool]);
    for argument in arguments {
        command.args(["--tool-arg", argument]);
    }
    let said = Said::of(command.output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    let answer: Value = serde_json::from_str(&said.stdout).expect(&said.stdout);
    answer["structuredContent"].clone()
}

#[test]
fn the_inspector_goes_through_a_round() {
    let inspector = match inspector() {
        Ok(inspector) => inspector,
        Err(problem) => return skip(&format!("the MCP inspector {INSPECTOR}: {problem}")),
    };
    let world = World::new();
    let server = world.serve();
    let arguments =
        ["host=api.example.com", "methods=[\"GET\"]", "justification=the build needs it"];
    let pending = inspect(&inspector, &server, "propose_egress_route", &arguments);
    assert_eq!(pending["status"], "pending", "{pending}");
    let id = pending["id"].as_str().unwrap();
    let again = inspect(&inspector, &server, "propose_egress_route", &arguments);
    assert_eq!(again["id"], id);
    assert_eq!(world.operator(&["approve", id, "--yes"]).code, 0);
    let status = inspect(&inspector, &server, "proposal_status", &[&format!("id={id}")]);
    assert_eq!(status["status"], "approved");
    let allowed = inspect(&inspector, &server, "list_allowed", &[]);
    assert_eq!(allowed["egress_routes"][0]["host"], "api.example.com");
}
