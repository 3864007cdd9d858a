output "instance_id" {
  description = "The instance's full resource name, projects/PROJECT/locations/REGION/instances/ID."
  value       = google_memorystore_instance.this.id
}

output "address" {
  description = "The primary's address within the network, port 6379 with TLS; null while Google has given none."
  value = try(flatten([
    for endpoint in google_memorystore_instance.this.endpoints : [
      for connection in endpoint.connections : [
        for each in connection.psc_auto_connection : each.ip_address
        if each.connection_type == "CONNECTION_TYPE_PRIMARY"
      ]
    ]
  ])[0], null)
}

output "server_ca_certificates" {
  description = "The certificates (PEM) that sign the server's own; what clients verify TLS with."
  value       = flatten([for ca in google_memorystore_instance.this.managed_server_ca : [for each in ca.ca_certs : each.certificates]])
}
