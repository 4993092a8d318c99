//! An SVG of when services started, became ready and ended, on one time axis. Pure.

use std::fmt::Write;
use std::time::Duration;

use crate::protocol::Timeline;

const ROW: u32 = 22;
const LEFT: u32 = 180;
const WIDTH: u32 = 900;
const TOP: u32 = 30;

impl Timeline {
    /// An SVG of all services up to now.
    pub fn to_svg(&self) -> String {
        svg(self)
    }
}

fn svg(Timeline { services: rows, uptime: now }: &Timeline) -> String {
    let now = *now;
    let height = TOP + ROW * u32::try_from(rows.len()).unwrap_or(u32::MAX / ROW / 2) + 10;
    let total = now.as_secs_f64().max(0.001);
    let x = |at: Duration| f64::from(LEFT) + at.as_secs_f64() / total * f64::from(WIDTH);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.starting{{fill:#f2b134}}.ready{{fill:#3a9d5d}}.stopping{{fill:#c8553d}}\
         .axis{{stroke:#ccc}}</style>\n",
        LEFT + WIDTH + 20
    );
    for tick in 0..=10 {
        let at = now.mul_f64(f64::from(tick) / 10.0);
        let _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{height}\"/>\
             <text x=\"{0:.1}\" y=\"20\" text-anchor=\"middle\">{1:.2} s</text>",
            x(at),
            at.as_secs_f64()
        );
    }
    for (row, y) in rows.iter().zip((TOP..).step_by(ROW as usize)) {
        let _ = writeln!(text, "<text x=\"8\" y=\"{}\">{}</text>", y + 15, escaped(&row.name));
        for span in &row.runs {
            let end = span.ended.unwrap_or(now);
            let asked = span.asked.unwrap_or(end);
            let ready = span.ready.unwrap_or(asked).min(asked);
            for (class, from, to) in [
                ("starting", span.started, ready),
                ("ready", ready, asked),
                ("stopping", asked, end),
            ] {
                if to > from {
                    let _ = writeln!(
                        text,
                        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"16\">\
                         <title>{}: {class} {:.3} s to {:.3} s</title></rect>",
                        x(from),
                        y + 3,
                        (x(to) - x(from)).max(0.5),
                        escaped(&row.name),
                        from.as_secs_f64(),
                        to.as_secs_f64()
                    );
                }
            }
        }
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Run, TimelineService};

    fn picture(name: &str, run: Run, seconds: u64) -> String {
        let services = vec![TimelineService { name: name.to_owned(), runs: vec![run] }];
        Timeline { services, uptime: Duration::from_secs(seconds) }.to_svg()
    }

    #[test]
    fn each_part_of_a_run_has_its_place() {
        let seconds = Duration::from_secs;
        let run = Run {
            started: seconds(1),
            ready: Some(seconds(2)),
            asked: Some(seconds(8)),
            ended: Some(seconds(10)),
        };
        let text = picture("a<b", run, 10);
        for part in [
            "<rect class=\"starting\" x=\"270.0\" y=\"33\" width=\"90.0\"",
            "<rect class=\"ready\" x=\"360.0\" y=\"33\" width=\"540.0\"",
            "<rect class=\"stopping\" x=\"900.0\" y=\"33\" width=\"180.0\"",
            ">a&lt;b</text>",
            "10.00 s</text>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_goes_on_reaches_to_now() {
        let zero = Duration::ZERO;
        let run = Run { started: zero, ready: Some(zero), asked: None, ended: None };
        assert!(picture("a", run, 3).contains("x=\"180.0\" y=\"33\" width=\"900.0\""));
    }
}
