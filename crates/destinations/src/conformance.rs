//! What every destination of the registry must keep, checked over all of them: names, documentation, settings, reasons.
//! Fails with a sentence that says what to do.

use std::path::PathBuf;

use narthex_contract::{DestinationCx, Outcome, RegisteredDestination};
use narthex_testkit::conformance::{self as check, Kind};

use crate::testing::{compile_node, plain_exchange};
use crate::{DESTINATIONS, destination};

fn source() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The fenced YAML blocks of a README are examples: each is the map behind `to`.
fn kinds() -> Vec<Kind<'static>> {
    let kind = |kind: &&'static dyn RegisteredDestination| {
        let kind = *kind;
        let readme = check::readme(&source(), kind.name());
        Kind {
            name: kind.name(),
            summary: kind.summary(),
            schema: kind.schema().into(),
            reasons: kind.reasons(),
            examples: check::yaml_blocks(kind.name(), &readme),
            readme,
            compile: Box::new(move |settings| compile_node(kind, settings).map(|_| ())),
        }
    };
    DESTINATIONS.iter().map(kind).collect()
}

#[test]
fn every_folder_is_registered_under_its_name_and_in_order() {
    let names: Vec<&str> = DESTINATIONS.iter().map(|kind| kind.name()).collect();
    check::folders_are_the_registry(&source(), &names);
    for name in names {
        assert_eq!(destination(name).map(|kind| kind.name()), Some(name), "`destination` finds {name}");
    }
    assert!(destination("no_such_destination").is_none());
}

#[test]
fn every_destination_has_a_summary() {
    let row = |kind: &Kind<'_>| format!("| [`{0}`](src/{0}/README.md) |", kind.name);
    check::kinds_are_listed(&kinds(), include_str!("../README.md"), row);
}

#[test]
fn every_example_compiles_and_fits_its_schema() {
    check::examples_hold(&kinds(), |schema, settings| {
        let validator = jsonschema::validator_for(schema).unwrap();
        validator.iter_errors(settings).map(|error| error.to_string()).collect()
    });
}

#[test]
fn every_example_answers() {
    for kind in kinds() {
        for settings in &kind.examples {
            let compiled = compile_node(destination(kind.name).unwrap(), settings).unwrap();
            let mut exchange = plain_exchange();
            let mut cx = DestinationCx::alone(&mut exchange, 1);
            let is_answer = matches!(compiled.answer(&mut cx), Outcome::Answer(_) | Outcome::Forward(_));
            assert!(is_answer, "{}: a README example answers without waiting", kind.name);
        }
    }
}

#[test]
fn an_unknown_field_is_refused_wherever_fields_are_known() {
    check::unknown_fields_are_refused(&kinds());
}

#[test]
fn every_field_is_described_in_the_schema_and_in_the_readme() {
    for kind in kinds() {
        let own = check::fields(&kind.schema, "").iter().any(|(path, _)| path == kind.name);
        assert!(own, "{}: the settings are the whole map of `to`, so the kind's key is a field", kind.name);
    }
    check::fields_are_described(&kinds());
}

#[test]
fn reasons_are_unique_and_documented() {
    for kind in kinds() {
        let has_reasons = kind.readme.contains("## Reasons");
        assert!(
            has_reasons,
            "{}: the README says which reasons there are, or that there are none",
            kind.name
        );
    }
    check::reasons_are_unique_and_documented(&kinds());
}
