// Microsoft's adapter, held to the contract of all vendors on the simulated Microsoft.
import { openSimulatedMicrosoft } from '../support/simulated-microsoft.ts'
import { describeVendor } from './vendor.contract.ts'

describeVendor(
  'Microsoft',
  {
    throttlesWith403: false,
    tellsMissingScopes: false,
    hasCalendarsWithoutPush: true,
    revokes: false,
    accessEndsWithGrant: false,
    renewsChannels: true,
    validatesCallbacks: true,
  },
  // Repeats are documented, and have a test of their own; here each change is counted.
  () => openSimulatedMicrosoft({ repeatedItems: 0 }),
)
