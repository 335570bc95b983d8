// SPDX-License-Identifier: Apache-2.0

package verdict

// A Code is a stable name for a reason, in the form family.name. Codes are part
// of the API: they are never reused for something else. The text beside a code
// is free.
type Code string

// The codes. What each one means and what to do about it is in [Codes] and in
// docs/codes.md.
const (
	SigNone                Code = "sig.none"
	SigNoneOfKind          Code = "sig.none-of-kind"
	SigInvalid             Code = "sig.invalid"
	SigAlgorithm           Code = "sig.algorithm"
	SigCount               Code = "sig.count"
	SigCriticalUnknown     Code = "sig.critical-unknown"
	SigExpired             Code = "sig.expired"
	InputLimit             Code = "input.limit"
	InputMalformed         Code = "input.malformed"
	InputUnsupported       Code = "input.unsupported"
	SubjectMismatch        Code = "subject.mismatch"
	SubjectAlgorithm       Code = "subject.algorithm"
	SubjectRepository      Code = "subject.repository"
	SubjectPlatform        Code = "subject.platform"
	IdentitySAN            Code = "identity.san"
	IdentityIssuer         Code = "identity.issuer"
	IdentityExtension      Code = "identity.extension"
	IdentityAmbiguous      Code = "identity.ambiguous"
	KeyUnknown             Code = "key.unknown"
	KeyWindow              Code = "key.window"
	CertUntrusted          Code = "cert.untrusted"
	CertExpiredAtSigning   Code = "cert.expired-at-signing"
	CertProfile            Code = "cert.profile"
	TimeUnproven           Code = "time.unproven"
	TimeUntrusted          Code = "time.untrusted"
	TimeNotAllowed         Code = "time.not-allowed"
	LogMissing             Code = "log.missing"
	LogMismatch            Code = "log.mismatch"
	LogProof               Code = "log.proof"
	LogCount               Code = "log.count"
	SCTMissing             Code = "sct.missing"
	SCTInvalid             Code = "sct.invalid"
	RevokedImage           Code = "revoked.image"
	RevokedIdentity        Code = "revoked.identity"
	RevokedKey             Code = "revoked.key"
	RevokedCertificate     Code = "revoked.certificate"
	RevokedLogEntry        Code = "revoked.log-entry"
	RevocationUnavailable  Code = "revocation.unavailable"
	StatementType          Code = "statement.type"
	StatementPredicate     Code = "statement.predicate"
	TrustMissing           Code = "trust.missing"
	TrustStale             Code = "trust.stale"
	TrustRollback          Code = "trust.rollback"
	RegistryUnreachable    Code = "registry.unreachable"
	SigstoreUnreachable    Code = "sigstore.unreachable"
	RegistryTimeout        Code = "registry.timeout"
	RegistryTLS            Code = "registry.tls"
	RegistryUnauthorized   Code = "registry.unauthorized"
	RegistryRateLimited    Code = "registry.rate-limited"
	RegistryDigestMismatch Code = "registry.digest-mismatch"
	RegistryNotAllowed     Code = "registry.not-allowed"
	ImageNotFound          Code = "image.not-found"
	ImageBase              Code = "image.base"
	PolicyNoRule           Code = "policy.no-rule"
	PolicyError            Code = "policy.error"
	PolicyOff              Code = "policy.off"
	PolicyException        Code = "policy.exception"
	PolicyTest             Code = "policy.test"
	TicketMalformed        Code = "ticket.malformed"
	TicketAlgorithm        Code = "ticket.algorithm"
	TicketSignature        Code = "ticket.signature"
	TicketAudience         Code = "ticket.audience"
	TicketSubject          Code = "ticket.subject"
	TicketRepository       Code = "ticket.repository"
	TicketNamespace        Code = "ticket.namespace"
	TicketExpired          Code = "ticket.expired"
	TicketNotYetValid      Code = "ticket.not-yet-valid"
	TicketLifetime         Code = "ticket.lifetime"
	TicketStatement        Code = "ticket.statement"
	TicketHead             Code = "ticket.head"
	TicketDenied           Code = "ticket.denied"
	TicketMissing          Code = "ticket.missing"
	TicketQuorum           Code = "ticket.quorum"
	StatusMalformed        Code = "status.malformed"
	StatusSignature        Code = "status.signature"
	StatusRollback         Code = "status.rollback"
	StatusStale            Code = "status.stale"
	HeadMalformed          Code = "head.malformed"
	HeadSignature          Code = "head.signature"
	HeadRollback           Code = "head.rollback"
	HeadExpired            Code = "head.expired"
	HeadConflict           Code = "head.conflict"
	HeadFile               Code = "head.file"
	HeadMissing            Code = "head.missing"
	ExceptionMalformed     Code = "exception.malformed"
	ExceptionSignature     Code = "exception.signature"
	ExceptionExpired       Code = "exception.expired"
	ExceptionScope         Code = "exception.scope"
	PeerTrustDomain        Code = "peer.trust-domain"
	PeerRole               Code = "peer.role"
	PeerUntrusted          Code = "peer.untrusted"
	SVIDMissing            Code = "svid.missing"
	SVIDExpired            Code = "svid.expired"
	AgentState             Code = "agent.state"
	AgentUnreachable       Code = "agent.unreachable"
	DaemonUnreachable      Code = "daemon.unreachable"
	Overloaded             Code = "overloaded"
	LogUnavailable         Code = "log.unavailable"
	Unready                Code = "daemon.unready"
	EvidenceMalformed      Code = "evidence.malformed"
	EvidenceLimit          Code = "evidence.limit"
	EvidenceUnsupported    Code = "evidence.unsupported"
	EvidenceKind           Code = "evidence.kind"
	EvidenceMissing        Code = "evidence.missing"
	EvidenceSignature      Code = "evidence.signature"
	EvidenceSigner         Code = "evidence.signer"
	EvidenceBinding        Code = "evidence.binding"
	EvidenceNonce          Code = "evidence.nonce"
	EndorsementMalformed   Code = "endorsement.malformed"
	EndorsementMissing     Code = "endorsement.missing"
	EndorsementUntrusted   Code = "endorsement.untrusted"
	EndorsementProduct     Code = "endorsement.product"
	EndorsementMismatch    Code = "endorsement.mismatch"
	EndorsementExpired     Code = "endorsement.expired"
	EndorsementNotYetValid Code = "endorsement.not-yet-valid"
	EndorsementRevoked     Code = "endorsement.revoked"
	EndorsementRollback    Code = "endorsement.rollback"
	TCBMinimum             Code = "tcb.minimum"
	TCBCommitted           Code = "tcb.committed"
	TCBStatus              Code = "tcb.status"
	TCBUnknown             Code = "tcb.unknown"
	GuestDebug             Code = "guest.debug"
	GuestMigratable        Code = "guest.migratable"
	GuestVMPL              Code = "guest.vmpl"
	GuestPolicy            Code = "guest.policy"
	GuestAttributes        Code = "guest.attributes"
	GuestConfig            Code = "guest.config"
	GuestMeasurement       Code = "guest.measurement"
	GuestRegister          Code = "guest.register"
	GuestIdentity          Code = "guest.identity"
	PlatformModule         Code = "platform.module"
	PlatformChip           Code = "platform.chip"
	PlatformInfo           Code = "platform.info"
	PlatformFirmware       Code = "platform.firmware"
	EventLogMalformed      Code = "eventlog.malformed"
	EventLogReplay         Code = "eventlog.replay"
	EventLogIncomplete     Code = "eventlog.incomplete"
	EventLogEvent          Code = "eventlog.event"
	TPMMagic               Code = "tpm.magic"
	TPMAK                  Code = "tpm.ak"
	TPMBank                Code = "tpm.bank"
	TPMSelection           Code = "tpm.selection"
	TPMReset               Code = "tpm.reset"
	IssuerMalformed        Code = "issuer.malformed"
	IssuerExpired          Code = "issuer.expired"
	IssuerRollback         Code = "issuer.rollback"
	IssuerConfig           Code = "issuer.config"
	IssuerPolicy           Code = "issuer.policy"
	IssuerRoots            Code = "issuer.roots"
	IssuerIdentity         Code = "issuer.identity"
	IssuerProfile          Code = "issuer.profile"
	IssuerUnwitnessed      Code = "issuer.unwitnessed"
	EvidenceSimulated      Code = "evidence.simulated"
	LogUnwitnessed         Code = "log.unwitnessed"
	ClockBehind            Code = "clock.behind"
	Internal               Code = "internal"
)

// A Kind tells what a code says about the decision.
type Kind string

// The kinds of codes.
const (
	// KindRefusal: the answer is no.
	KindRefusal Kind = "refusal"
	// KindFailure: nothing could be decided. Never cached, never a pass.
	KindFailure Kind = "failure"
	// KindNote: it was let through, and this is what to know about it.
	KindNote Kind = "note"
)

// A CodeInfo describes one code.
type CodeInfo struct {
	Code Code
	Kind Kind
	// Meaning says when the code is used, in one sentence.
	Meaning string
	// Hint says what to do next.
	Hint string
}

// Codes returns all codes, in the order of docs/codes.md.
func Codes() []CodeInfo { return append([]CodeInfo(nil), codes...) }

// Info returns the description of c, and false for a code that does not exist.
func (c Code) Info() (CodeInfo, bool) {
	for _, i := range codes {
		if i.Code == c {
			return i, true
		}
	}
	return CodeInfo{}, false
}

var codes = []CodeInfo{
	{SigNone, KindRefusal, "no signature of any kind was found", "sign the image, or check that the registry serves its signatures"},
	{SigNoneOfKind, KindRefusal, "signatures exist, none of the demanded kind or predicate type", "ask for the kind that is there (--attestation), or sign the image"},
	{SigInvalid, KindRefusal, "a signature does not verify over the exact bytes", "sign the image again; if it should be valid, look for a registry or proxy that changes bytes"},
	{SigAlgorithm, KindRefusal, "key type, curve, hash or size is not accepted", "use ECDSA P-256, P-384 or P-521, RSA of at least 2048 bits, or Ed25519 where this build allows it"},
	{SigCount, KindRefusal, "fewer distinct authorities signed than demanded", "sign it with the missing authority"},
	{SigCriticalUnknown, KindRefusal, "the signature has a critical attribute that is not known here", "sign without it; plug-ins are not run"},
	{SigExpired, KindRefusal, "the signer or the list of targets ended its validity", "sign again"},
	{InputLimit, KindFailure, "a size, count or time limit was exhausted before a match", "remove junk signatures from the registry"},
	{InputMalformed, KindRefusal, "envelope, bundle or manifest is not parsable", "the artifact is damaged or not what it says; push it again"},
	{InputUnsupported, KindRefusal, "a known family in an unsupported version or kind", "sign with a current version of the tool, or upgrade assay"},
	{SubjectMismatch, KindRefusal, "a valid signature, for another digest", "compare the digests; where the signature was copied from another image, sign this one"},
	{SubjectAlgorithm, KindRefusal, "no subject digest in an accepted algorithm", "sign with a SHA-256 subject digest"},
	{SubjectRepository, KindRefusal, "the signature names another repository than the rule allows", "sign it for this repository, or change the rule's binding"},
	{SubjectPlatform, KindRefusal, "the platform's manifest is not covered by the signature", "sign the index that lists it, or the platform's manifest"},
	{IdentitySAN, KindRefusal, "the certificate is for another subject", "sign as the identity that the policy names, or name this one in it"},
	{IdentityIssuer, KindRefusal, "the certificate's OIDC issuer differs", "sign by the issuer that the policy names, or name this one in it"},
	{IdentityExtension, KindRefusal, "a Fulcio extension differs", "build from the repository, ref or workflow that the policy names"},
	{IdentityAmbiguous, KindRefusal, "the certificate names several subjects, or two issuers", "get a certificate with one subject"},
	{KeyUnknown, KindRefusal, "the signing key is none of the policy's", "sign with a key of the policy, or add this one"},
	{KeyWindow, KindRefusal, "the key's validity does not contain the signing time", "sign with a key that is valid now"},
	{CertUntrusted, KindRefusal, "no chain to a trusted certificate authority", "check which trusted root signed it, and give that one"},
	{CertExpiredAtSigning, KindRefusal, "the proven signing time is outside the chain's validity", "sign again"},
	{CertProfile, KindRefusal, "usage, CA flag or length of the certificate chain is not acceptable", "get a code-signing certificate"},
	{TimeUnproven, KindRefusal, "there is no acceptable proof of when it was signed", "sign with a transparency log entry or a timestamp"},
	{TimeUntrusted, KindRefusal, "a timestamp is there that no trusted authority verifies, or that is of the future", "use a timestamp authority of the trusted root, and check the clock"},
	{TimeNotAllowed, KindRefusal, "it was signed outside the time that the policy allows", "sign again, or see max-age, signed-after and signed-before in the policy"},
	{LogMissing, KindRefusal, "no entry of a trusted transparency log", "sign with the log, or do not demand one (key authorities: require-log)"},
	{LogMismatch, KindRefusal, "the log entry is about other bytes, another key or signature", "the entry was copied from elsewhere; sign again"},
	{LogProof, KindRefusal, "signed entry timestamp, inclusion proof or checkpoint does not verify", "check the trusted root; else the entry is forged"},
	{LogCount, KindRefusal, "fewer distinct transparency logs than demanded have the signature", "log it in further logs of the trusted root"},
	{SCTMissing, KindRefusal, "the certificate has no certificate-transparency timestamp", "get a certificate from a CA that logs"},
	{SCTInvalid, KindRefusal, "the certificate-transparency timestamp does not verify", "check the trusted root"},
	{RevokedImage, KindRefusal, "owners denied the image or its repository", "do not run it; the owners' deny document says why"},
	{RevokedIdentity, KindRefusal, "owners denied the signer's identity", "sign as another identity"},
	{RevokedKey, KindRefusal, "owners denied the signing key", "sign with another key"},
	{RevokedCertificate, KindRefusal, "a certificate of the chain was revoked by its issuer, or denied by owners", "sign again with a fresh certificate"},
	{RevokedLogEntry, KindRefusal, "owners denied the log entry", "sign again"},
	{RevocationUnavailable, KindFailure, "there is no fresh word of the publisher whether a certificate of the chain was revoked", "let the addresses of its CRL and OCSP responder be reached, or say revocation: soft in the policy"},
	{StatementType, KindRefusal, "type of the signed statement is not acceptable", "sign with a tool that writes the in-toto or simple-signing type"},
	{StatementPredicate, KindRefusal, "the content of an attestation does not meet what the policy demands", "see the demand and the attestation; assay explain shows both"},
	{TrustMissing, KindFailure, "no trust material for what has to be checked", "name a trusted root"},
	{TrustStale, KindFailure, "trust metadata expired, or is older than the policy's max-age", "let the repository be reached, or renew what it serves; nothing is wrong with the signature"},
	{TrustRollback, KindFailure, "a repository answers with older trust metadata than was seen before", "what was seen stays in use; look for a stale mirror, and else treat the repository as hostile"},
	{RegistryUnreachable, KindFailure, "the registry did not answer", "nothing was decided and nothing was cached; try again, or name a mirror"},
	{SigstoreUnreachable, KindFailure, "a service of the sigstore instance did not do its part in signing", "read what the service says, and sign again"},
	{RegistryTimeout, KindFailure, "the registry did not answer in time", "nothing was decided and nothing was cached; try again, or name a mirror"},
	{RegistryTLS, KindFailure, "the registry's TLS certificate is not acceptable", "check the registry's certificate and the system's CAs"},
	{RegistryUnauthorized, KindFailure, "the registry refused the credentials, or wants some", "log in to the registry (docker login), or give the daemon credentials"},
	{RegistryRateLimited, KindFailure, "the registry limits the rate", "try again after the time that it names"},
	{RegistryDigestMismatch, KindFailure, "the registry served other bytes than the digest names", "treat the registry, or what is between, as hostile"},
	{RegistryNotAllowed, KindRefusal, "host, address or redirect is outside what is allowed", "name the host under sources"},
	{ImageNotFound, KindRefusal, "the registry does not have the image", "check name and digest"},
	{ImageBase, KindRefusal, "the base image is not named, or is refused by the rules of tier base", "name it in provenance or annotations with its digest, and see the rules for its repository"},
	{PolicyNoRule, KindRefusal, "no rule of the policy matches", "add a rule for the repository"},
	{PolicyError, KindFailure, "the policy could not be evaluated", "check the policy (assay policy check)"},
	{PolicyOff, KindNote, "the rule is off: unchecked", "set the rule's mode to audit or enforce"},
	{PolicyException, KindNote, "let through by an exception, of the policy or signed by owners", "remove the need for the exception before it ends"},
	{PolicyTest, KindRefusal, "a case of assay policy test has another result than expected", "mend the policy, or the case"},
	{TicketMalformed, KindRefusal, "the ticket is not well-formed", "get a new one from the daemon; if it repeats, what wrote and what reads it differ in version"},
	{TicketAlgorithm, KindRefusal, "type, algorithm or header of the token is not that of a ticket", "only ES256 tickets of an attested daemon count; check that this is a ticket"},
	{TicketSignature, KindRefusal, "the ticket's signature does not verify", "treat whoever delivered it as hostile"},
	{TicketAudience, KindRefusal, "the ticket is for another node or cluster", "each node needs a ticket of its own; ask for one as the node that it is for"},
	{TicketSubject, KindRefusal, "the ticket is for another image", "ask for a ticket for this digest, or check the digest that was named"},
	{TicketRepository, KindRefusal, "the ticket is for another repository", "ask for a ticket for this repository, or check the name"},
	{TicketNamespace, KindRefusal, "the policy refuses the image in this namespace", "see assay explain"},
	{TicketExpired, KindRefusal, "the ticket has expired", "get a new one; on a node the agent does, so check that it runs"},
	{TicketNotYetValid, KindRefusal, "the ticket is not yet valid", "check the clock of this machine and the daemon's"},
	{TicketLifetime, KindRefusal, "the ticket lives longer than allowed", "check the daemon's configuration"},
	{TicketStatement, KindRefusal, "no accepted issuer statement lists the key", "appraise the statement of the daemon behind it; on a node the agent does, and its log says what it did not accept"},
	{TicketHead, KindRefusal, "the ticket was issued under an older head", "get one under the newest head; on a node the agent does, once the daemon has the head"},
	{TicketDenied, KindRefusal, "owners denied what the ticket rests on", "do not run it; the deny document says why"},
	{TicketMissing, KindFailure, "there is no ticket for the image", "ask again once a daemon has decided; on a node the agent asks it"},
	{TicketQuorum, KindRefusal, "fewer accepted daemons decided than the node demands", "start more daemons, or lower quorum in trust.yaml"},
	{StatusMalformed, KindRefusal, "the status is not well-formed", "daemon and node may differ in version"},
	{StatusSignature, KindRefusal, "the status' signature does not verify, or its key is not accepted", "treat whoever delivered it as hostile"},
	{StatusRollback, KindRefusal, "the status names something older than this node has seen", "the daemon's host may have rolled it back"},
	{StatusStale, KindFailure, "no fresh status, and the image was not let through here before", "start the daemon, or install an exception"},
	{HeadMalformed, KindRefusal, "head, owners file or deny document is not well-formed", "sign it again with assay head"},
	{HeadSignature, KindRefusal, "fewer owners signed than demanded, or a signature does not verify", "have the missing owners sign"},
	{HeadRollback, KindRefusal, "an older head than one already seen", "give the newest head"},
	{HeadExpired, KindRefusal, "the head has expired", "renew it: assay head renew"},
	{HeadConflict, KindRefusal, "two heads with one counter", "stop: owners signed two contents, or a key is stolen"},
	{HeadFile, KindRefusal, "a file is not the one that the head names", "deliver the file that the head names"},
	{HeadMissing, KindFailure, "there is no head", "give one: assay head sign, then PutHead or a file"},
	{ExceptionMalformed, KindRefusal, "the exception is not well-formed", "sign it again with assay exception"},
	{ExceptionSignature, KindRefusal, "fewer owners signed the exception than demanded", "have the missing owners sign"},
	{ExceptionExpired, KindRefusal, "the exception is not valid now", "sign a new one"},
	{ExceptionScope, KindRefusal, "the exception is for another image or cluster", "sign one for this image and cluster"},
	{PeerTrustDomain, KindRefusal, "the caller's SPIFFE ID is of another trust domain, or there is none", "use the SVID that the configuration names"},
	{PeerRole, KindRefusal, "the caller's role may not do this", "use an identity of the right role"},
	{PeerUntrusted, KindRefusal, "the caller's SVID has no chain to the trust bundle, or is outside its validity", "get a fresh SVID; check that both sides use the same trust bundle and time"},
	{SVIDMissing, KindFailure, "the Workload API gives this process no SVID", "check the socket, and that an identity is registered for this process"},
	{SVIDExpired, KindFailure, "this process's own SVID has expired and no new one came", "check the Workload API and the clock"},
	{AgentState, KindFailure, "others than the agent and root can write its state folder or a file in it", "look for what was changed there; then chown it to the agent's user, and chmod go-w"},
	{AgentUnreachable, KindFailure, "assay-node did not answer", "start assay-node"},
	{DaemonUnreachable, KindFailure, "no daemon answered", "start assayd, or check the address"},
	{Overloaded, KindFailure, "the daemon sheds load", "try again later"},
	{LogUnavailable, KindFailure, "the verdict could not be written down, so it is not given", "check the daemon's disk"},
	{Unready, KindFailure, "the daemon has no evidence, head, policy, roots or log yet", "see its log"},
	{EvidenceMalformed, KindRefusal, "the evidence is not parsable", "evidence and appraiser may differ in version"},
	{EvidenceLimit, KindRefusal, "the evidence exceeds a size or item limit", "nothing genuine is this large"},
	{EvidenceUnsupported, KindFailure, "a known family in an unknown version", "upgrade assay"},
	{EvidenceKind, KindRefusal, "this kind of TEE is not accepted here", "name the kind in trust.yaml, if you trust it"},
	{EvidenceMissing, KindFailure, "a part of the evidence that is needed is not there", "check the daemon's log"},
	{EvidenceSignature, KindRefusal, "the signature over report or quote does not verify", "treat it as forged"},
	{EvidenceSigner, KindRefusal, "the report was signed by a kind of key that is not accepted", "use a platform that signs with an accepted key"},
	{EvidenceBinding, KindRefusal, "the evidence is not bound to this statement and nonce", "evidence of one daemon was used for another"},
	{EvidenceNonce, KindRefusal, "the asker's nonce is not among those answered", "ask again"},
	{EndorsementMalformed, KindRefusal, "a certificate or revocation list is not parsable", "fetch it again"},
	{EndorsementMissing, KindFailure, "a certificate that is needed was not supplied", "check the daemon's log"},
	{EndorsementUntrusted, KindRefusal, "no path to a pinned root", "pin the root in trust.yaml, if you trust it"},
	{EndorsementProduct, KindRefusal, "the chain is for another product line", "use the chain of this product"},
	{EndorsementMismatch, KindRefusal, "the certificate is for another chip or firmware level", "fetch the certificate for the reported level"},
	{EndorsementRevoked, KindRefusal, "the vendor has revoked a certificate of the chain", "take the machine out of service"},
	{EndorsementExpired, KindFailure, "a certificate has expired", "fetch a current one"},
	{EndorsementNotYetValid, KindFailure, "a certificate is not valid yet", "check the clock"},
	{EndorsementRollback, KindFailure, "collateral is older than what was seen before or is demanded", "fetch a current edition; find out who served the old one"},
	{TCBMinimum, KindRefusal, "a firmware component is below the floor", "update the platform's firmware"},
	{TCBCommitted, KindRefusal, "the host may roll the firmware back, below the floor or at all", "commit the firmware, or allow provisional firmware above the floor"},
	{TCBStatus, KindRefusal, "the vendor's status of the platform is not accepted", "update the platform, or accept the status and its advisories by name"},
	{TCBUnknown, KindRefusal, "the platform is below every level that the vendor lists", "update the platform's firmware"},
	{GuestDebug, KindRefusal, "the guest may be debugged by its host", "start it without debug"},
	{GuestMigratable, KindRefusal, "the guest may be migrated by an agent", "start it without a migration agent"},
	{GuestVMPL, KindRefusal, "the report comes from another privilege level", "ask at the level that the references name"},
	{GuestPolicy, KindRefusal, "a bit of the guest policy is not accepted", "start the guest with the policy that the references name"},
	{GuestAttributes, KindRefusal, "an attribute or feature of the guest is not accepted", "start the guest with the attributes that the policy names"},
	{GuestConfig, KindRefusal, "a configuration or owner field of the guest differs", "start the guest with the configuration that the references name"},
	{GuestMeasurement, KindRefusal, "the measurement is none of the references'", "add the build to the references, or start the right one"},
	{GuestRegister, KindRefusal, "a register, or the replayed list of its events, differs", "the state that was measured is not the one that is claimed"},
	{GuestIdentity, KindRefusal, "the guest's ID block is by no accepted key, or says something else", "start the guest with the ID block that the trust names"},
	{PlatformModule, KindRefusal, "the TDX module or quoting enclave is not the vendor's", "treat the machine as compromised"},
	{PlatformChip, KindRefusal, "the chip is none of those accepted, or its ID is masked", "use an accepted machine, or name the chip"},
	{PlatformInfo, KindRefusal, "a property or mitigation of the platform is missing, unknown or not accepted", "configure the platform's firmware, or allow the property by name"},
	{PlatformFirmware, KindRefusal, "the version of the platform's firmware is below the floor", "update the platform's firmware"},
	{EventLogMalformed, KindRefusal, "the event log is not parsable", "log and appraiser may differ in version"},
	{EventLogReplay, KindRefusal, "the event log does not replay to the register", "the log is not that of this start"},
	{EventLogIncomplete, KindRefusal, "the event log has no event of a register that is read from it", "a register without events proves nothing"},
	{EventLogEvent, KindRefusal, "the event log has an event that a good start does not have", "find out what the firmware reported"},
	{TPMMagic, KindRefusal, "not a structure that a TPM made", "treat it as forged"},
	{TPMAK, KindRefusal, "the attestation key is not proven to live in an accepted TPM", "check the EK certificate's CA"},
	{TPMBank, KindRefusal, "another PCR bank than SHA-256", "use the SHA-256 bank"},
	{TPMSelection, KindRefusal, "the quote does not select the registers that the references name", "quote them all"},
	{TPMReset, KindRefusal, "the TPM was reset, or its clock is not safe", "start the boot again"},
	{IssuerMalformed, KindRefusal, "the issuer statement is not well-formed", "the daemon and this program may differ in version"},
	{IssuerExpired, KindRefusal, "the issuer statement is not valid now", "get the newest from the daemon, which renews it; check the clocks on both sides"},
	{IssuerRollback, KindRefusal, "the statement names an older head, or an older statement of its boot", "give the daemon the newest head; if it had that, its host may have rolled it back"},
	{IssuerConfig, KindRefusal, "the daemon's configuration is none that the references allow", "add the configuration's digest to the references"},
	{IssuerPolicy, KindRefusal, "the daemon's policy is not the head's", "give the daemon the head's policy"},
	{IssuerRoots, KindRefusal, "the daemon's trusted roots are not the head's", "give the daemon the head's roots"},
	{IssuerIdentity, KindRefusal, "the SPIFFE ID is not that of an accepted issuer", "name it under issuers in trust.yaml, if you trust it"},
	{IssuerProfile, KindRefusal, "a development daemon, where only production ones are accepted", "in production accept none; for development say profile: development in trust.yaml"},
	{IssuerUnwitnessed, KindRefusal, "nobody witnesses the daemon's log, and trust.yaml demands it", "let monitors witness the log; for development allow-unwitnessed in trust.yaml lets it pass"},
	{EvidenceSimulated, KindNote, "a simulator vouches for the daemon: nothing is proven about hardware", "for production use a TEE"},
	{LogUnwitnessed, KindNote, "nobody but the daemon vouches for its log", "for production let monitors witness the log"},
	{ClockBehind, KindFailure, "this machine's clock is behind something that is known to have happened", "set the clock (NTP)"},
	{Internal, KindFailure, "something that was not foreseen", "see whether a disk is full or read-only; if not, report it with the log"},
}
