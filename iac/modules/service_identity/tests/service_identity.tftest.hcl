# Run with `make iac-check`; the provider is mocked, so nothing is made and no account is asked for.

mock_provider "google" {}

variables {
  project_id    = "my-project-id"
  database_name = "contentfactory"
  namespace     = "contentfactory"
}

run "each_service_has_an_account_of_its_own" {
  command = plan

  assert {
    condition     = toset(keys(google_service_account.this)) == toset(["cache", "optimizer", "processor", "tracker"])
    error_message = "There must be one account for each of the four services."
  }
  assert {
    condition     = google_service_account.this["cache"].account_id == "contentfactory-cache"
    error_message = "An account's id is PREFIX-SERVICE."
  }
}

run "an_account_may_use_documents_of_one_database" {
  command = plan

  assert {
    condition     = alltrue([for each in google_project_iam_member.documents : each.role == "roles/datastore.user"])
    error_message = "A service needs roles/datastore.user and nothing more."
  }
  assert {
    condition     = alltrue([for each in google_project_iam_member.documents : each.condition[0].expression == "resource.name == \"projects/my-project-id/databases/contentfactory\""])
    error_message = "Without the condition the account could read every database of the project."
  }
}

run "only_the_services_pods_are_the_account" {
  command = plan

  assert {
    condition     = google_service_account_iam_member.pod["tracker"].member == "serviceAccount:my-project-id.svc.id.goog[contentfactory/tracker]"
    error_message = "The account must be bound to NAMESPACE/SERVICE of the project's own pool."
  }
  assert {
    condition     = alltrue([for each in google_service_account_iam_member.pod : each.role == "roles/iam.workloadIdentityUser"])
    error_message = "Pods take the account by Workload Identity."
  }
}

run "the_cluster_may_be_in_another_project" {
  command = plan
  variables {
    workload_identity_pool = "cluster-project.svc.id.goog"
  }
  assert {
    condition     = google_service_account_iam_member.pod["cache"].member == "serviceAccount:cluster-project.svc.id.goog[contentfactory/cache]"
    error_message = "The pool given must be the one bound."
  }
}

run "a_prefix_leaves_room_for_the_service" {
  command = plan
  variables {
    account_prefix = "a-prefix-that-is-too-long"
  }
  expect_failures = [var.account_prefix]
}

run "a_database_is_named_by_its_id" {
  command = plan
  variables {
    database_name = "projects/my-project-id/databases/contentfactory"
  }
  expect_failures = [var.database_name]
}

run "a_pool_is_one" {
  command = plan
  variables {
    workload_identity_pool = "cluster-project"
  }
  expect_failures = [var.workload_identity_pool]
}

run "there_is_a_service" {
  command = plan
  variables {
    services = []
  }
  expect_failures = [var.services]
}

run "a_namespace_is_one" {
  command = plan
  variables {
    namespace = "Content_Factory"
  }
  expect_failures = [var.namespace]
}

run "before_there_is_a_cluster_nothing_is_bound" {
  command = plan
  variables {
    bind_pods = false
  }
  assert {
    condition     = length(google_service_account_iam_member.pod) == 0 && length(google_service_account.this) == 4
    error_message = "Google refuses a binding to a pool that no cluster has made; the accounts can be there before."
  }
}
