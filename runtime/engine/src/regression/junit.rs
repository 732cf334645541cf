//! The report as JUnit XML, for continuous integration.

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::golden::short;
use super::verdict::{SuiteReport, Verdict};

/// One test suite, a test case for each scenario. What is not comparable is an error, what is inconclusive is skipped.
///
/// # Errors
/// When a text cannot be written as XML.
pub fn junit(report: &SuiteReport) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(report.name.as_str());
    for scenario in &report.scenarios {
        let why = scenario.reasons.join("\n");
        let failed = |kind, name: &str| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(name).set_message(scenario.reasons.first().map_or("", String::as_str));
            status.set_description(why.as_str());
            status
        };
        let status = match scenario.verdict {
            Verdict::Passed => TestCaseStatus::success(),
            Verdict::Regressed => failed(NonSuccessKind::Failure, "regressed"),
            Verdict::NotComparable => failed(NonSuccessKind::Error, "not comparable"),
            Verdict::Inconclusive => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
        };
        let mut case = TestCase::new(scenario.name.as_str(), status);
        case.set_classname(format!("{}.{}", report.name, scenario.level.name()));
        let provenance = &scenario.provenance;
        for (name, value) in [
            ("policy", provenance.policy.as_str()),
            ("policy_hash", short(&provenance.policy_hash)),
            ("contract_hash", provenance.contract_hash.as_deref().map_or("none", short)),
            ("version", provenance.version.as_str()),
            ("target", provenance.target.as_str()),
        ] {
            case.add_property(Property::new(name, value));
        }
        let mut out = scenario.reasons.clone();
        out.extend(scenario.drives());
        out.extend(scenario.notes.iter().map(|n| format!("note: {n}")));
        case.set_system_out(out.join("\n"));
        suite.add_test_case(case);
    }
    let mut junit = Report::new("surefoot regress");
    junit.add_test_suite(suite);
    junit.to_string()
}
