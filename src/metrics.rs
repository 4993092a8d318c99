//! Metrics in the text format of Prometheus. Pure.

use std::fmt::Write;

use crate::protocol::{Metrics, ServiceMetrics};

type Figure = fn(&ServiceMetrics) -> Option<f64>;

const FIGURES: [(&str, &str, Figure); 5] = [
    ("service_up", "gauge", |service| Some(u8::from(service.up).into())),
    ("service_healthy", "gauge", |service| Some(u8::from(service.healthy).into())),
    ("service_restarts_total", "counter", |service| Some(service.restarts.into())),
    ("service_memory_bytes", "gauge", |service| Some(service.memory_bytes? as f64)),
    ("service_cpu_seconds_total", "counter", |service| service.cpu_seconds),
];

impl Metrics {
    /// The text format of Prometheus.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "# TYPE sidecar_init_uptime_seconds gauge");
        let _ = writeln!(text, "sidecar_init_uptime_seconds {}", self.uptime.as_secs_f64());
        for (figure, kind, value_of) in FIGURES {
            let _ = writeln!(text, "# TYPE sidecar_init_{figure} {kind}");
            for service in &self.services {
                if let Some(value) = value_of(service) {
                    let name = &service.name;
                    // It has no character that needs escaping.
                    let _ = writeln!(text, "sidecar_init_{figure}{{service=\"{name}\"}} {value}");
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_not_known_is_left_out() {
        let service = ServiceMetrics {
            name: "web".to_owned(),
            up: true,
            healthy: false,
            restarts: 3,
            memory_bytes: Some(4096),
            cpu_seconds: None,
        };
        let metrics = Metrics { uptime: Duration::from_millis(1500), services: vec![service] };
        let text = metrics.to_prometheus();
        let figures: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            figures,
            [
                "sidecar_init_uptime_seconds 1.5",
                "sidecar_init_service_up{service=\"web\"} 1",
                "sidecar_init_service_healthy{service=\"web\"} 0",
                "sidecar_init_service_restarts_total{service=\"web\"} 3",
                "sidecar_init_service_memory_bytes{service=\"web\"} 4096",
            ]
        );
        assert!(text.contains("# TYPE sidecar_init_service_cpu_seconds_total counter\n"));
    }
}
