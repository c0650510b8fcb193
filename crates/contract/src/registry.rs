//! The object-safe face of kinds, written once: what the registries of `policies` and `destinations` hold.

use std::marker::PhantomData;

use narthex_document::{Diagnostic, Node};
use schemars::{JsonSchema, Schema};

use crate::{CompileCx, Destination, DestinationKind, Policy, PolicyKind, Reason, Stage};

/// A policy kind in the registry.
pub trait RegisteredPolicy: Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn stages(&self) -> &'static [Stage];
    fn reasons(&self) -> &'static [Reason];
    fn schema(&self) -> Schema;
    /// Deserialises and compiles; pushes every problem. `None` exactly when there was one.
    fn compile(&self, settings: &Node, cx: &mut CompileCx<'_>) -> Option<Box<dyn Policy>>;
}

/// A destination kind in the registry.
pub trait RegisteredDestination: Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn reasons(&self) -> &'static [Reason];
    /// See [`DestinationKind::FORWARDS`].
    fn forwards(&self) -> bool;
    fn schema(&self) -> Schema;
    fn compile(&self, settings: &Node, cx: &mut CompileCx<'_>) -> Option<Box<dyn Destination>>;
}

/// The registry line of a policy: `&PolicyEntry::<cors::Cors>::NEW`.
pub struct PolicyEntry<K>(PhantomData<fn() -> K>);

impl<K> PolicyEntry<K> {
    pub const NEW: Self = Self(PhantomData);
}

impl<K: PolicyKind> RegisteredPolicy for PolicyEntry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn summary(&self) -> &'static str {
        K::SUMMARY
    }

    fn stages(&self) -> &'static [Stage] {
        K::STAGES
    }

    fn reasons(&self) -> &'static [Reason] {
        K::REASONS
    }

    fn schema(&self) -> Schema {
        schema_of::<K::Config>()
    }

    fn compile(&self, settings: &Node, cx: &mut CompileCx<'_>) -> Option<Box<dyn Policy>> {
        let config = deserialise::<K::Config>(settings, cx)?;
        Some(Box::new(K::compile(config, cx)?))
    }
}

/// The registry line of a destination.
pub struct DestinationEntry<K>(PhantomData<fn() -> K>);

impl<K> DestinationEntry<K> {
    pub const NEW: Self = Self(PhantomData);
}

impl<K: DestinationKind> RegisteredDestination for DestinationEntry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn summary(&self) -> &'static str {
        K::SUMMARY
    }

    fn reasons(&self) -> &'static [Reason] {
        K::REASONS
    }

    fn forwards(&self) -> bool {
        K::FORWARDS
    }

    fn schema(&self) -> Schema {
        schema_of::<K::Config>()
    }

    fn compile(&self, settings: &Node, cx: &mut CompileCx<'_>) -> Option<Box<dyn Destination>> {
        let config = deserialise::<K::Config>(settings, cx)?;
        Some(Box::new(K::compile(config, cx)?))
    }
}

fn schema_of<T: JsonSchema>() -> Schema {
    schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
}

fn deserialise<T: serde::de::DeserializeOwned>(settings: &Node, cx: &mut CompileCx<'_>) -> Option<T> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let config = narthex_document::from_node(settings, &mut problems);
    problems.into_iter().for_each(|problem| cx.push(problem));
    config
}
