# Written by `make iac` from the services' SCHEMAs; do not edit, CI would notice.
# Which query needs which, and what each costs: docs/firestore-indexes.md.

# One tenant: query records_of_content_type.
resource "google_firestore_index" "optimizer_quality_records__content_types_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "optimizer_quality_records"
  query_scope = "COLLECTION"

  fields {
    field_path   = "content_types"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query records_of_grade.
resource "google_firestore_index" "optimizer_quality_records__grades_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "optimizer_quality_records"
  query_scope = "COLLECTION"

  fields {
    field_path   = "grades"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query records_of_version.
resource "google_firestore_index" "optimizer_quality_records__versions_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "optimizer_quality_records"
  query_scope = "COLLECTION"

  fields {
    field_path   = "versions"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query templates_by_id.
resource "google_firestore_index" "optimizer_templates__state_asc__template_id_asc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "optimizer_templates"
  query_scope = "COLLECTION"

  fields {
    field_path = "state"
    order      = "ASCENDING"
  }

  fields {
    field_path = "template_id"
    order      = "ASCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "ASCENDING"
  }
}

# One tenant: query versions_of_family.
resource "google_firestore_index" "optimizer_versions__family_asc__version_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "optimizer_versions"
  query_scope = "COLLECTION"

  fields {
    field_path = "family"
    order      = "ASCENDING"
  }

  fields {
    field_path = "version"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query jobs_by_state.
resource "google_firestore_index" "processor_jobs__state_asc__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_jobs"
  query_scope = "COLLECTION"

  fields {
    field_path = "state"
    order      = "ASCENDING"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# All tenants: query jobs_open.
resource "google_firestore_index" "processor_jobs__open_asc__stirred_desc__all_tenants" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_jobs"
  query_scope = "COLLECTION_GROUP"

  fields {
    field_path = "open"
    order      = "ASCENDING"
  }

  fields {
    field_path = "stirred"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query versions_of_content_type.
resource "google_firestore_index" "processor_results__content_types_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_results"
  query_scope = "COLLECTION"

  fields {
    field_path   = "content_types"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query versions_of_grade.
resource "google_firestore_index" "processor_results__grades_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_results"
  query_scope = "COLLECTION"

  fields {
    field_path   = "grades"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query versions_of_item.
resource "google_firestore_index" "processor_results__item_ids_contains__create_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_results"
  query_scope = "COLLECTION"

  fields {
    field_path   = "item_ids"
    array_config = "CONTAINS"
  }

  fields {
    field_path = "create_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query shards_claimable_of_job.
resource "google_firestore_index" "processor_shards__claimable_asc__job_id_asc__claimable_at_asc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_shards"
  query_scope = "COLLECTION"

  fields {
    field_path = "claimable"
    order      = "ASCENDING"
  }

  fields {
    field_path = "job_id"
    order      = "ASCENDING"
  }

  fields {
    field_path = "claimable_at"
    order      = "ASCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "ASCENDING"
  }
}

# One tenant: query shards_of_job.
resource "google_firestore_index" "processor_shards__job_id_asc__phase_asc__number_asc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_shards"
  query_scope = "COLLECTION"

  fields {
    field_path = "job_id"
    order      = "ASCENDING"
  }

  fields {
    field_path = "phase"
    order      = "ASCENDING"
  }

  fields {
    field_path = "number"
    order      = "ASCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "ASCENDING"
  }
}

# All tenants: query shards_claimable.
resource "google_firestore_index" "processor_shards__claimable_asc__priority_desc__claimable_at_asc__all_tenants" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "processor_shards"
  query_scope = "COLLECTION_GROUP"

  fields {
    field_path = "claimable"
    order      = "ASCENDING"
  }

  fields {
    field_path = "priority"
    order      = "DESCENDING"
  }

  fields {
    field_path = "claimable_at"
    order      = "ASCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "ASCENDING"
  }
}

# One tenant: query events_of_job.
resource "google_firestore_index" "tracker_events__job_id_asc__first_sequence_asc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "tracker_events"
  query_scope = "COLLECTION"

  fields {
    field_path = "job_id"
    order      = "ASCENDING"
  }

  fields {
    field_path = "first_sequence"
    order      = "ASCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "ASCENDING"
  }
}

# One tenant: query jobs_in_state.
resource "google_firestore_index" "tracker_jobs__state_asc__listed_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "tracker_jobs"
  query_scope = "COLLECTION"

  fields {
    field_path = "state"
    order      = "ASCENDING"
  }

  fields {
    field_path = "listed_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# One tenant: query jobs_of_user.
resource "google_firestore_index" "tracker_jobs__user_asc__listed_time_desc" {
  project     = var.project_id
  database    = google_firestore_database.this.name
  collection  = "tracker_jobs"
  query_scope = "COLLECTION"

  fields {
    field_path = "user"
    order      = "ASCENDING"
  }

  fields {
    field_path = "listed_time"
    order      = "DESCENDING"
  }

  fields {
    field_path = "__name__"
    order      = "DESCENDING"
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "cache_segments__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_segments"
  field      = "body"

  index_config {}
}

# Query newest_segments.
resource "google_firestore_field" "cache_segments__create_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_segments"
  field      = "create_time"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# When the document expires (TTL).
resource "google_firestore_field" "cache_segments__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_segments"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "cache_segment_parts__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_segment_parts"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "cache_segment_parts__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_segment_parts"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "cache_purges__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_purges"
  field      = "body"

  index_config {}
}

# Query newest_purges.
resource "google_firestore_field" "cache_purges__change" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_purges"
  field      = "change"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "cache_purge_signals__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_purge_signals"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "cache_heat__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_heat"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "cache_heat__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "cache_heat"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_templates__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_templates"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "optimizer_templates__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_templates"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# Query templates_changed.
resource "google_firestore_field" "optimizer_templates__revision" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_templates"
  field      = "revision"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# Query templates_by_state.
resource "google_firestore_field" "optimizer_templates__state" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_templates"
  field      = "state"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_templates__template_id" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_templates"
  field      = "template_id"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_versions__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_versions"
  field      = "body"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_versions__family" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_versions"
  field      = "family"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_versions__version" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_versions"
  field      = "version"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_requests__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_requests"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "optimizer_requests__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_requests"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_statistics__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_statistics"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_quality_records__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "body"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_quality_records__content_types" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "content_types"

  index_config {}
}

# Query records_by_time.
resource "google_firestore_field" "optimizer_quality_records__create_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "create_time"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION"
    }
  }
}

# When the document expires (TTL).
resource "google_firestore_field" "optimizer_quality_records__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_quality_records__grades" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "grades"

  index_config {}
}

# Query records_of_part.
resource "google_firestore_field" "optimizer_quality_records__parts" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "parts"

  index_config {
    indexes {
      array_config = "CONTAINS"
      query_scope  = "COLLECTION"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "optimizer_quality_records__versions" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_quality_records"
  field      = "versions"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "optimizer_service__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "optimizer_service"
  field      = "body"

  index_config {}
}

# Query jobs_due.
resource "google_firestore_field" "processor_jobs__attention_at" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "attention_at"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_jobs__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "body"

  index_config {}
}

# Query jobs_by_time.
resource "google_firestore_field" "processor_jobs__create_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "create_time"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION"
    }
  }
}

# Query jobs_by_finish.
resource "google_firestore_field" "processor_jobs__finish_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "finish_time"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_jobs__open" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "open"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_jobs__state" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "state"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_jobs__stirred" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "stirred"

  index_config {}
}

# Query jobs_unreported.
resource "google_firestore_field" "processor_jobs__unreported" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_jobs"
  field      = "unreported"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_item_chunks__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_item_chunks"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_shards__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "body"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_shards__claimable" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "claimable"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_shards__claimable_at" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "claimable_at"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_shards__job_id" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "job_id"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_shards__number" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "number"

  index_config {}
}

# Query shards_by_phase, shards_unreported, shards_of_tenant.
resource "google_firestore_field" "processor_shards__phase" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "phase"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION"
    }
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_shards__priority" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "priority"

  index_config {}
}

# Query shards_unreported.
resource "google_firestore_field" "processor_shards__unreported" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_shards"
  field      = "unreported"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION_GROUP"
    }
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_results__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_results"
  field      = "body"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_results__content_types" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_results"
  field      = "content_types"

  index_config {}
}

# Query versions_by_time.
resource "google_firestore_field" "processor_results__create_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_results"
  field      = "create_time"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_results__grades" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_results"
  field      = "grades"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "processor_results__item_ids" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_results"
  field      = "item_ids"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_requests__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_requests"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "processor_requests__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_requests"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_active_versions__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_active_versions"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_budgets__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_budgets"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_measures__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_measures"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "processor_service__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "processor_service"
  field      = "body"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "tracker_jobs__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "tracker_jobs__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# Query jobs_by_time.
resource "google_firestore_field" "tracker_jobs__listed_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "listed_time"

  index_config {
    indexes {
      order       = "DESCENDING"
      query_scope = "COLLECTION"
    }
  }
}

# Only composite indexes need it.
resource "google_firestore_field" "tracker_jobs__state" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "state"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "tracker_jobs__user" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "user"

  index_config {}
}

# Query jobs_written.
resource "google_firestore_field" "tracker_jobs__written_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_jobs"
  field      = "written_time"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION"
    }
  }
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "tracker_producers__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_producers"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "tracker_producers__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_producers"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "tracker_events__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_events"
  field      = "body"

  index_config {}
}

# When the document expires (TTL).
resource "google_firestore_field" "tracker_events__expire_time" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_events"
  field      = "expire_time"

  ttl_config {}

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "tracker_events__first_sequence" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_events"
  field      = "first_sequence"

  index_config {}
}

# Only composite indexes need it.
resource "google_firestore_field" "tracker_events__job_id" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_events"
  field      = "job_id"

  index_config {}
}

# The packed contents, large and never asked for.
resource "google_firestore_field" "tracker_secrets__body" {
  project    = var.project_id
  database   = google_firestore_database.this.name
  collection = "tracker_secrets"
  field      = "body"

  index_config {}
}
