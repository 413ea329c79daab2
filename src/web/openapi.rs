//! The API's description: an `OpenAPI` 3.1 document made from the same table that routes it, and from
//! the types that are answered. It is made by the tests, and written down; what is served is what was
//! written, so that a release build need not hold how each type looks.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use axum::routing::MethodRouter;

use super::desk::Desk;
use super::problem::Refused;

/// What a path of the API takes and answers.
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// Whether it is posted to; else it is read.
    pub changes: bool,
    /// What it is for, in a line.
    pub about: &'static str,
    /// The type of its query, or of its body when it is posted to.
    pub takes: Option<Shape>,
    /// The type of its answer.
    pub answers: Shape,
    /// The media type of its answer.
    pub media: &'static str,
    /// What answers it.
    pub handler: fn() -> MethodRouter<Desk>,
}

/// How a type looks as JSON.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The document as it was written down.
pub const WRITTEN: &str = include_str!("../../docs/openapi.json");

/// The shape of a type, by its name; in a release build any.
pub fn named<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    if cfg!(debug_assertions) { generator.subschema_for::<T>() } else { Schema::default() }
}

/// The shape of a type, in place; in a release build any.
pub fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    if cfg!(debug_assertions) { T::json_schema(generator) } else { Schema::default() }
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    })
}

/// The document, to be written down; not in a release build, which does not know the types.
#[must_use]
pub fn document(endpoints: &[Endpoint]) -> Value {
    let mut answers = SchemaGenerator::new(settings().for_serialize());
    let mut asks = SchemaGenerator::new(settings().for_deserialize());
    let mut paths = Map::new();
    for endpoint in endpoints {
        let content = (endpoint.answers)(&mut answers);
        let mut operation = json!({
            "summary": endpoint.about,
            "responses": {
                "200": {
                    "description": "The answer.",
                    "content": { endpoint.media: { "schema": content } },
                },
                "default": { "$ref": "#/components/responses/refused" },
            },
        });
        let takes = endpoint.takes.map(|shape| shape(&mut asks).to_value());
        match (endpoint.changes, takes) {
            (true, Some(body)) => {
                operation["requestBody"] = json!({
                    "required": true,
                    "content": { "application/json": { "schema": body } },
                });
            }
            (false, Some(query)) => operation["parameters"] = parameters(&query),
            (_, None) => {}
        }
        if endpoint.changes {
            operation["security"] =
                json!([{ "token": [] }, { "cookie": [], "csrf": [] }, { "csrf": [] }]);
        }
        let method = if endpoint.changes { "post" } else { "get" };
        paths.insert(endpoint.path.to_owned(), json!({ method: operation }));
    }
    let refused = answers.subschema_for::<Refused>();
    let schemas = answers.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "taskwarden",
            "version": "1",
            "summary": "What the dashboard of a running taskwarden shows and does.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The address that `listen:` names." }],
        "security": [{ "token": [] }, { "cookie": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "refused": {
                    "description": "Why it is not answered or not done: 400 the query or the body is \
                        wrong, 401 no token, 403 not allowed, 404 there is no such thing, 413 too \
                        large, 421 asked for under a name that is not ours, 422 the rules file has \
                        errors, 429 too often (see `Retry-After`), 503 not now.",
                    "content": { "application/json": { "schema": refused } },
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `token` of `listen:`. Where none is set, nothing is asked for.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "taskwarden-PORT",
                    "description": "A log-in of the dashboard.",
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-CSRF-Token",
                    "description": "The `csrf` of `/api/v1/session`; needed for what changes \
                        something, unless the token is shown.",
                },
            },
        },
    })
}

/// The members of a type as parameters of a query.
fn parameters(query: &Value) -> Value {
    let required = query["required"].as_array().cloned().unwrap_or_default();
    let members = query["properties"].as_object().into_iter().flatten();
    let parameters = members.map(|(name, schema)| {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        // What is not asked for is left out, and never null.
        if let Some(kinds) = schema["type"].as_array() {
            let kind = kinds.iter().find(|kind| **kind != "null").cloned();
            schema["type"] = kind.unwrap_or_default();
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("default");
        }
        json!({
            "name": name,
            "in": "query",
            "required": required.iter().any(|one| one == name),
            "description": about,
            "schema": schema,
        })
    });
    parameters.collect()
}
