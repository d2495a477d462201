/** Which addresses only this machine reaches. Pure; the configuration and the HTTP server ask. */

/** `host` as it stands in a setting or a URL: a name or an address, IPv6 with brackets or without. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
}
